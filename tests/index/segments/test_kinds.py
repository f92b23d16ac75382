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
    EXHAUSTIVE,
    KIND_SETTINGS,
    ProbedGallery,
    assert_same_hits,
    exact,
    make_index,
    open_index,
    scattered_vectors,
    set_nprobe,
    unit_vectors,
)


def tolerance(kind: str) -> float:
    return 1e-3 if kind.endswith("half") else 1e-5


@pytest.mark.parametrize("kind", KIND_SETTINGS)
@pytest.mark.parametrize("count", [1, 3, 2000])
def test_an_exhaustive_search_equals_exact_search(kind: str, count: int, tmp_path: Path):
    vectors, queries = unit_vectors(count), unit_vectors(20, seed=1)
    index = make_index(tmp_path / "i", vectors, KIND_SETTINGS[kind])
    result = index.search(queries, min(10, count), parameters=EXHAUSTIVE)
    expected = exact(queries, vectors, np.arange(count), min(10, count))
    assert_same_hits(result, expected, queries @ vectors.T, tolerance(kind))
    if not kind.endswith("half"):
        assert (result[1] == expected[1]).mean() > 0.99  # equal scores may change places


@pytest.mark.parametrize("kind", ["ivf", "ivf-half"])
@pytest.mark.parametrize("nprobe", [1, 3])
@pytest.mark.parametrize("batch", [1, 40])
def test_a_search_visits_the_nprobe_nearest_lists_and_no_other(
    kind: str, nprobe: int, batch: int, tmp_path: Path
):
    """One query goes through FAISS's own search, 40 through ours, which finds the lists itself."""
    settings = replace(KIND_SETTINGS[kind], kind="IVF16,Flat" if kind == "ivf" else "IVF16,SQfp16")
    index = make_index(tmp_path / "i", scattered_vectors(2000), settings)
    queries = scattered_vectors(40, seed=1)
    gallery = ProbedGallery.of(index, nprobe)
    expected = gallery.search(queries, 10)
    for other in (nprobe + 1, 16):  # a wrong nprobe would show
        differs = replace(gallery, nprobe=other).search(queries, 10)[1] != expected[1]
        assert differs.any(axis=1).sum() > 20
    results = [
        index.search(queries[start : start + batch], 10, parameters={"nprobe": nprobe})
        for start in range(0, 40, batch)
    ]
    scores, ids = (np.concatenate(column) for column in zip(*results, strict=True))
    np.testing.assert_array_equal(ids, expected[1])
    np.testing.assert_allclose(scores, expected[0], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 40])
def test_the_manifests_nprobe_is_that_of_a_search(batch: int, tmp_path: Path):
    settings = replace(KIND_SETTINGS["ivf"], kind="IVF16,Flat")
    make_index(tmp_path / "i", scattered_vectors(2000), settings)
    queries, ids = scattered_vectors(batch, seed=2), {}
    for nprobe in (1, 3):
        set_nprobe(tmp_path / "i", nprobe)
        index = open_index(tmp_path / "i")
        ids[nprobe] = index.search(queries, 10)[1]
        expected = ProbedGallery.of(index, nprobe).search(queries, 10)[1]
        np.testing.assert_array_equal(ids[nprobe], expected)
    assert (ids[1] != ids[3]).any()


@pytest.mark.parametrize("kind", KIND_SETTINGS)
def test_more_hits_than_vectors_are_filled_up_with_the_id_minus_one(kind: str, tmp_path: Path):
    vectors = unit_vectors(700)
    index = make_index(tmp_path / "i", vectors, KIND_SETTINGS[kind])
    scores, ids = index.search(unit_vectors(3, seed=1), 720)
    for row in range(3):
        assert sorted(ids[row, :700].tolist()) == list(range(700))
        assert ids[row, 700:].tolist() == [-1] * 20
        assert np.isneginf(scores[row, 700:]).all()
    assert (np.diff(scores[:, :700], axis=1) <= 1e-6).all()


@pytest.mark.parametrize("kind", KIND_SETTINGS)
def test_scores_are_cosines_and_a_vectors_own_is_one(kind: str, tmp_path: Path):
    vectors = unit_vectors(2000)
    index = make_index(tmp_path / "i", vectors, KIND_SETTINGS[kind])
    scores, ids = index.search(vectors[:200], 5)
    itself = ids[:, 0] == np.arange(200)
    assert itself.mean() >= 0.98
    np.testing.assert_allclose(scores[itself, 0], 1.0, atol=tolerance(kind))
    pairs = zip(vectors[:200], ids, strict=True)
    cosines = np.array([vectors[row] @ vector for vector, row in pairs])
    np.testing.assert_allclose(scores, cosines, atol=tolerance(kind))


@pytest.mark.parametrize("kind", KIND_SETTINGS)
def test_the_search_is_tuned_to_its_recall_and_reports_its_measurement(kind: str, tmp_path: Path):
    vectors, queries = unit_vectors(6000), unit_vectors(300, seed=2)
    index = make_index(tmp_path / "i", vectors, KIND_SETTINGS[kind])
    _, ids = index.search(queries, 10)
    _, expected = exact(queries, vectors, np.arange(6000), 10)
    recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, expected, strict=True)])
    main = index.manifest.main
    assert main.measured.recall_at_10 >= 0.93  # on other queries than those it was tuned on
    assert recall == pytest.approx(main.measured.recall_at_10, abs=0.05)
    assert main.measured.query_ms > 0
    assert main.measured.queries == (300 if main.factory else 0)


def test_a_higher_recall_is_reached_on_request(tmp_path: Path):
    vectors, queries = unit_vectors(6000), unit_vectors(200, seed=2)
    _, expected = exact(queries, vectors, np.arange(6000), 10)

    def recall(recall_target: float) -> float:
        settings = replace(KIND_SETTINGS["ivfpq"], recall_target=recall_target)
        _, ids = make_index(tmp_path / str(recall_target), vectors, settings).search(queries, 10)
        pairs = zip(ids, expected, strict=True)
        return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in pairs]))

    low, high = recall(0.5), recall(0.999)
    assert low < 0.97
    assert high > 0.985


def test_auto_is_exact_for_a_small_index_and_ivfpq_for_a_large_one():
    small, large = Size(10_000, 256, "float32", 9_000), Size(100_000, 256, "float32", 90_000)
    assert factory_string("auto", small) == ""
    assert factory_string("auto", large) == "IVF2530,PQ64x4fs"


def test_auto_falls_back_to_exact_search_where_the_recall_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fgembed.index.segments.kinds.FLAT_BYTES", 0)
    monkeypatch.setattr("fgembed.index.segments.tuning.K_FACTORS", (1,))
    vectors = np.random.default_rng(0).normal(size=(3000, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = make_index(tmp_path / "i", vectors, replace(KIND_SETTINGS["auto"], recall_target=0.999))
    assert index.manifest.main.factory == ""
    assert index.manifest.main.measured.recall_at_10 == 1.0


def test_widths_that_are_no_multiple_of_four_are_padded():
    assert factory_string("ivfpq", Size(10_000, 414, "float32", 9_000)) == (
        "Pad416,IVF281,PQ104x4fs"
    )


def test_a_structure_that_does_not_fit_the_memory_is_refused(tmp_path: Path):
    settings = replace(KIND_SETTINGS["hnsw"], memory_bytes=100_000)
    with pytest.raises(ConfigError, match=r"HNSW32.*--memory"):
        make_index(tmp_path / "i", unit_vectors(2000), settings)
    assert not list((tmp_path / "i").glob("seg-*"))


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("IVF4,Flatt", "cannot build"),
        ("LSH", "cannot build .*; give --kind as one of flat, ivf"),
        ("PQ4x4fs", "cannot build"),  # FAISS cannot filter it
        ("IVF4,PQ4x4fs,RFlat", "leave it out"),
        ("IDMap,Flat", "leave it out"),
        ("", "no kind of index"),
        ("flatt", "no kind of index; give --kind as auto, flat, ivf"),
    ],
)
def test_an_unsuitable_factory_string_is_refused(factory: str, words: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=words):
        make_index(tmp_path / "i", unit_vectors(700), replace(KIND_SETTINGS["flat"], kind=factory))


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
        structure = build_structure(factory_string(kind, size), rows, np.arange(1200))
        scores, positions = structure.search(queries, 10, EXHAUSTIVE, allowed)
        np.testing.assert_allclose(scores, expected[0], atol=1e-5)
        assert (positions == expected[1]).mean() > 0.99


def test_vectors_are_read_back_by_their_ids(tmp_path: Path):
    vectors = unit_vectors(500)
    ids = np.array([499, 0, 10, 250])  # every tenth is stored last
    for kind in ("flat", "ivf", "ivfpq"):
        index = make_index(tmp_path / kind, vectors, KIND_SETTINGS[kind])
        np.testing.assert_array_equal(index.reconstruct(ids), vectors[ids])
        assert index.reconstruct(ids[:0]).shape == (0, 24)


@pytest.mark.parametrize("kind", ["ivfpq", "PCA96,IVF4,Flat", "rabitq"])
def test_a_small_index_of_high_dimension_is_read_again(kind: str, tmp_path: Path, small_lists):
    vectors = unit_vectors(300, 510)
    index = make_index(tmp_path / "i", vectors, IndexSettings(kind))
    assert index.segments[0].structure is not None
    scores, _ = index.search(vectors[:20], 1, parameters=EXHAUSTIVE)
    np.testing.assert_allclose(scores, 1, atol=1e-5)


def test_a_rotation_needs_as_many_vectors_as_dimensions(tmp_path: Path):
    with pytest.raises(
        ConfigError,
        match="needs 512 vectors for its training, the sample has 450; index more images",
    ):
        make_index(tmp_path / "i", unit_vectors(500, 512), IndexSettings("OPQ8,IVF4,PQ8x4fs"))


def test_a_structure_that_cannot_be_read_again_leaves_the_index_unchanged(
    tmp_path: Path, small_lists, monkeypatch: pytest.MonkeyPatch
):
    make_index(tmp_path / "i", unit_vectors(300), KIND_SETTINGS["flat"])
    before = (tmp_path / "i" / "manifest.json").read_bytes()
    for name in ("MIN_ALLOCATION_BYTES", "ALLOCATION_FACTOR"):
        monkeypatch.setattr(f"fgembed.index.segments.faiss_memory.{name}", 0)
    with pytest.raises(
        ConfigError, match=r"IVF.* was built and cannot be read again.*; give another --kind"
    ):
        compact(tmp_path / "i", KIND_SETTINGS["ivf"])
    assert (tmp_path / "i" / "manifest.json").read_bytes() == before
    assert len(list((tmp_path / "i").glob("seg-*"))) == 1
