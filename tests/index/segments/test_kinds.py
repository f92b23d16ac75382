"""Every kind against exact search in numpy, by value."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fgembed.errors import ConfigError
from fgembed.index.changes.compact import compact
from fgembed.index.segments.faiss_building import build_structure
from fgembed.index.segments.kinds import Size, factory_string
from fgembed.index.segments.segment_builder import IndexSettings
from fgembed.index.segments.vector_file import VectorFile
from tests.index.making import (
    EVERYTHING,
    WISHES,
    assert_same_hits,
    exact,
    make_index,
    unit_vectors,
)


def tolerance(kind: str) -> float:
    return 1e-3 if kind.endswith("half") else 1e-5


@pytest.mark.parametrize("kind", WISHES)
@pytest.mark.parametrize("count", [1, 3, 2000])
def test_looking_at_everything_equals_exact_search(kind: str, count: int, tmp_path: Path):
    vectors, queries = unit_vectors(count), unit_vectors(20, seed=1)
    index = make_index(tmp_path / "i", vectors, WISHES[kind])
    found = index.search(queries, min(10, count), parameters=EVERYTHING)
    expected = exact(queries, vectors, np.arange(count), min(10, count))
    assert_same_hits(found, expected, queries @ vectors.T, tolerance(kind))
    if not kind.endswith("half"):
        assert (found[1] == expected[1]).mean() > 0.99  # equal scores may change places


@pytest.mark.parametrize("kind", WISHES)
def test_asking_for_more_than_there_is_gives_all_and_then_nobody(kind: str, tmp_path: Path):
    vectors = unit_vectors(700)
    index = make_index(tmp_path / "i", vectors, WISHES[kind])
    scores, ids = index.search(unit_vectors(3, seed=1), 720)
    for row in range(3):
        assert sorted(ids[row, :700].tolist()) == list(range(700))
        assert ids[row, 700:].tolist() == [-1] * 20
        assert np.isneginf(scores[row, 700:]).all()
    assert (np.diff(scores[:, :700], axis=1) <= 1e-6).all()


@pytest.mark.parametrize("kind", WISHES)
def test_scores_are_cosines_and_a_vector_finds_itself_at_one(kind: str, tmp_path: Path):
    vectors = unit_vectors(2000)
    index = make_index(tmp_path / "i", vectors, WISHES[kind])
    scores, found = index.search(vectors[:200], 5)
    itself = found[:, 0] == np.arange(200)
    assert itself.mean() >= 0.98
    np.testing.assert_allclose(scores[itself, 0], 1.0, atol=tolerance(kind))
    pairs = zip(vectors[:200], found, strict=True)
    cosines = np.array([vectors[ids] @ vector for vector, ids in pairs])
    np.testing.assert_allclose(scores, cosines, atol=tolerance(kind))


@pytest.mark.parametrize("kind", WISHES)
def test_the_search_is_tuned_to_its_recall_and_says_what_it_measured(kind: str, tmp_path: Path):
    vectors, queries = unit_vectors(6000), unit_vectors(300, seed=2)
    index = make_index(tmp_path / "i", vectors, WISHES[kind])
    _, found = index.search(queries, 10)
    _, expected = exact(queries, vectors, np.arange(6000), 10)
    recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, expected, strict=True)])
    main = index.manifest.main
    assert main.measured.recall_at_10 >= 0.93  # on other queries than those it was tuned on
    assert recall == pytest.approx(main.measured.recall_at_10, abs=0.05)
    assert main.measured.query_ms > 0
    assert main.measured.queries == (300 if main.factory else 0)


def test_a_higher_recall_is_reached_when_it_is_asked_for(tmp_path: Path):
    vectors, queries = unit_vectors(6000), unit_vectors(200, seed=2)
    _, expected = exact(queries, vectors, np.arange(6000), 10)

    def recall(recall_target: float) -> float:
        settings = replace(WISHES["ivfpq"], recall_target=recall_target)
        _, found = make_index(tmp_path / str(recall_target), vectors, settings).search(queries, 10)
        pairs = zip(found, expected, strict=True)
        return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in pairs]))

    low, high = recall(0.5), recall(0.999)
    assert low < 0.97
    assert high > 0.985


def test_auto_compares_few_vectors_and_builds_a_structure_for_many():
    few, many = Size(10_000, 256, "float32", 9_000), Size(100_000, 256, "float32", 90_000)
    assert factory_string("auto", few) == ""
    assert factory_string("auto", many) == "IVF2530,PQ64x4fs"


def test_auto_falls_back_to_exact_search_where_the_recall_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fgembed.index.segments.kinds.FLAT_BYTES", 0)
    monkeypatch.setattr("fgembed.index.segments.tuning.K_FACTORS", (1,))
    vectors = np.random.default_rng(0).normal(size=(3000, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = make_index(tmp_path / "i", vectors, replace(WISHES["auto"], recall_target=0.999))
    assert index.manifest.main.factory == ""
    assert index.manifest.main.measured.recall_at_10 == 1.0


def test_widths_that_are_no_multiple_of_four_are_padded():
    assert factory_string("ivfpq", Size(10_000, 414, "float32", 9_000)) == (
        "Pad416,IVF281,PQ104x4fs"
    )


def test_a_structure_that_does_not_fit_the_memory_is_refused(tmp_path: Path):
    settings = replace(WISHES["hnsw"], memory_bytes=100_000)
    with pytest.raises(ConfigError, match=r"HNSW32.*--memory"):
        make_index(tmp_path / "i", unit_vectors(2000), settings)
    assert not list((tmp_path / "i").glob("seg-*"))


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("IVF4,Flatt", "cannot build"),
        ("LSH", "cannot build"),
        ("PQ4x4fs", "cannot build"),  # FAISS cannot filter it
        ("IVF4,PQ4x4fs,RFlat", "leave it out"),
        ("IDMap,Flat", "leave it out"),
        ("", "no kind of index"),
        ("flatt", "no kind of index"),
    ],
)
def test_a_factory_string_that_does_not_do_is_refused(factory: str, words: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=words):
        make_index(tmp_path / "i", unit_vectors(700), replace(WISHES["flat"], kind=factory))


@pytest.mark.parametrize("store", ["float32", "float16"])
def test_filters_hold_inside_faiss_for_every_structure(store: str):
    vectors = unit_vectors(1200).astype(store)
    rows, queries = VectorFile(vectors), unit_vectors(15, seed=1)
    allowed = np.arange(1200) % 5 == 2
    expected = exact(
        queries, np.asarray(rows.array, np.float32)[allowed], np.flatnonzero(allowed), 10
    )
    size = Size(1200, 24, store, 1200)
    for kind in ("ivf", "ivfpq", "hnsw", "rabitq"):
        built = build_structure(factory_string(kind, size), rows, np.arange(1200))
        scores, found = built.search(queries, 10, EVERYTHING, allowed)
        np.testing.assert_allclose(scores, expected[0], atol=1e-5)
        assert (found == expected[1]).mean() > 0.99


def test_vectors_are_read_back_by_their_ids(tmp_path: Path):
    vectors = unit_vectors(500)
    some = np.array([499, 0, 10, 250])  # every tenth is kept last
    for kind in ("flat", "ivf", "ivfpq"):
        index = make_index(tmp_path / kind, vectors, WISHES[kind])
        np.testing.assert_array_equal(index.reconstruct(some), vectors[some])
        assert index.reconstruct(some[:0]).shape == (0, 24)


@pytest.mark.parametrize("kind", ["ivfpq", "PCA96,IVF4,Flat", "rabitq"])
def test_a_small_index_of_many_dimensions_is_read_again(kind: str, tmp_path: Path, small_lists):
    vectors = unit_vectors(300, 510)
    index = make_index(tmp_path / "i", vectors, IndexSettings(kind))
    assert index.segments[0].structure is not None
    scores, _ = index.search(vectors[:20], 1, parameters=EVERYTHING)
    np.testing.assert_allclose(scores, 1, atol=1e-5)


def test_a_rotation_is_not_trained_on_too_few_vectors(tmp_path: Path):
    with pytest.raises(ConfigError, match="trained on 512 vectors at least, 450 are there"):
        make_index(tmp_path / "i", unit_vectors(500, 512), IndexSettings("OPQ8,IVF4,PQ8x4fs"))


def test_what_cannot_be_read_again_replaces_nothing(
    tmp_path: Path, small_lists, monkeypatch: pytest.MonkeyPatch
):
    make_index(tmp_path / "i", unit_vectors(300), WISHES["flat"])
    before = (tmp_path / "i" / "manifest.json").read_bytes()
    for name in ("LEAST", "SLACK"):
        monkeypatch.setattr(f"fgembed.index.segments.faiss_index.{name}", 0)
    with pytest.raises(ConfigError, match=r"IVF.* was built and cannot be read again"):
        compact(tmp_path / "i", WISHES["ivf"])
    assert (tmp_path / "i" / "manifest.json").read_bytes() == before
    assert len(list((tmp_path / "i").glob("seg-*"))) == 1
