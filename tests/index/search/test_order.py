"""Equal scores in the order of their ids: the hits for a smaller k begin those for a larger one."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fgembed.bundle import Bundle
from fgembed.images.finding import find_images
from fgembed.index import Searcher
from fgembed.index.changes.build import build_index
from fgembed.index.changes.compact import compact
from fgembed.index.changes.from_embeddings import add_embeddings
from fgembed.index.changes.remove import remove_ids
from fgembed.index.changes.transaction import settings_of
from fgembed.index.format.manifest import Manifest
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.reranking import RERANKINGS
from fgembed.index.segments import faiss_index, ordering, vector_file
from fgembed.index.segments.vector_file import VectorFile
from tests.index.making import (
    EXHAUSTIVE,
    KIND_SETTINGS,
    RandomPart,
    make_index,
    open_index,
    unit_vectors,
    write_random,
)

KINDS = ["flat", "flat-half", "ivf", "ivf-half", "hnsw", "ivfpq", "rabitq"]
KS = (1, 2, 3, 7, 18, 60)


def with_copies(distinct: int, copies: int, seed: int = 0) -> np.ndarray:
    """`copies` of one vector, and `distinct` others, in any order."""
    others = unit_vectors(distinct, seed=seed + 1)
    rows = np.concatenate([others, np.repeat(unit_vectors(1), copies, axis=0)])
    return np.asarray(np.random.default_rng(seed).permutation(rows))


def expected(queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray, k: int):
    """By Python's sum of exact products: one pair at a time, then sorted by score and id."""
    rows = []
    for query in queries.astype(np.float64):
        products = vectors.astype(np.float64) * query
        scores = [np.float32(sum(row.tolist())) for row in products]
        pairs = sorted((-score, int(id_)) for score, id_ in zip(scores, ids, strict=True))
        rows.append([id_ for _, id_ in pairs[:k]])
    return rows


def assert_one_order(index: IndexedVectors, queries: np.ndarray, where: str | None = None) -> None:
    """For every k, alone and in a batch: one list of hits, by falling score and rising id."""
    count = len(index.live_ids())
    scores, ids = index.search(queries, count, where, EXHAUSTIVE)
    for row in range(len(queries)):
        pairs = [(-score, id_) for score, id_ in zip(scores[row], ids[row], strict=True)]
        assert pairs == sorted(pairs, key=lambda pair: (pair[0], pair[1] % (1 << 62)))
    for k in (k for k in KS if k <= count):
        batch = index.search(queries, k, where, EXHAUSTIVE)
        np.testing.assert_array_equal(batch[1], ids[:, :k])
        np.testing.assert_array_equal(batch[0], scores[:, :k])
        for row, query in enumerate(queries):
            alone = index.search(query[None], k, where, EXHAUSTIVE)
            np.testing.assert_array_equal(alone[1][0], ids[row, :k])
            np.testing.assert_array_equal(alone[0][0], scores[row, :k])


@pytest.mark.parametrize("kind", KINDS)
def test_copies_come_in_the_order_of_their_ids_for_every_k(kind: str, tmp_path: Path, small_lists):
    vectors = with_copies(distinct=180, copies=40)
    index = make_index(tmp_path / "i", vectors, KIND_SETTINGS[kind])
    stored = index.reconstruct(np.arange(220))
    queries = np.concatenate([np.unique(stored, axis=0)[:25], unit_vectors(5, seed=1)])
    assert_one_order(index, queries)
    assert_one_order(index, queries, "year in (1, 2, 5)")
    ids = index.search(queries, 50, None, EXHAUSTIVE)[1]
    assert ids.tolist() == expected(queries, stored, np.arange(220), 50)


@pytest.mark.parametrize("kind", ["flat", "flat-half", "ivf", "ivfpq"])
def test_the_order_outlasts_additions_removals_and_compaction(
    kind: str, tmp_path: Path, small_lists
):
    folder, copy = tmp_path / "i", unit_vectors(1)
    first = with_copies(distinct=100, copies=30)
    make_index(folder, first, KIND_SETTINGS[kind])
    second = np.concatenate([np.repeat(copy, 20, axis=0), unit_vectors(20, seed=3)])
    add_embeddings(folder, write_random(tmp_path / "new", second, 130))
    remove_ids(folder, np.arange(0, 170, 7))
    queries = np.concatenate([copy, unit_vectors(24, seed=1)])
    before = open_index(folder)
    assert len(before.segments) == 2
    assert_one_order(before, queries)
    hits = before.search(queries, 60, None, EXHAUSTIVE)
    compact(folder, settings_of(Manifest.read(folder)))
    after = open_index(folder)
    assert len(after.segments) == 1
    assert_one_order(after, queries)
    np.testing.assert_array_equal(after.search(queries, 60, None, EXHAUSTIVE)[1], hits[1])


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_copies_is_ordered(
    kind: str, tmp_path: Path, small_lists, monkeypatch: pytest.MonkeyPatch
):
    """More than FAISS proposes at first and at last, and more than lie in a chunk."""
    monkeypatch.setattr(faiss_index, "MANY", 40)
    monkeypatch.setattr(vector_file, "CHUNK_BYTES", 4 * 24 * 100)
    monkeypatch.setattr(ordering, "CHUNK_BYTES", 8 * 24 * 7)
    vectors = with_copies(distinct=150, copies=1500)
    index = make_index(tmp_path / "i", vectors, KIND_SETTINGS[kind])
    copies = np.flatnonzero((vectors == unit_vectors(1)).all(axis=1))
    assert len(copies) == 1500
    for batch in (1, 25):
        queries = np.repeat(unit_vectors(1), batch, axis=0)
        for k in (1, 3, 30):
            ids = index.search(queries, k, None, EXHAUSTIVE)[1]
            assert (ids == copies[:k]).all()
            even = index.search(queries, k, "year % 2 = 0", EXHAUSTIVE)[1]
            assert (even == copies[copies % 7 % 2 == 0][:k]).all()


def test_ids_order_equal_scores_where_they_do_not_rise_with_the_positions(tmp_path: Path):
    vectors = np.repeat(unit_vectors(1), 50, axis=0)
    ids = np.random.default_rng(0).permutation(50).tolist()
    part = RandomPart(vectors, ids, [None] * 50)
    index = make_index(tmp_path / "i", vectors, KIND_SETTINGS["flat"], part)
    for k in (1, 7, 50):
        assert index.search(vectors[:1], k)[1][0].tolist() == list(range(k))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    distinct=st.integers(1, 12),
    picks=st.lists(st.integers(0, 11), min_size=1, max_size=60),
    dimensions=st.integers(1, 70),
    batch=st.integers(1, 30),
    k=st.integers(1, 70),
    half=st.booleans(),
)
def test_exact_search_is_a_sort_by_score_and_position(
    distinct: int, picks: list[int], dimensions: int, batch: int, k: int, half: bool
):
    generator = np.random.default_rng(distinct)
    base = generator.integers(-3, 4, (distinct, dimensions)) + 1e-7
    base /= np.linalg.norm(base, axis=1, keepdims=True) + 1e-12
    vectors = base[np.array(picks) % distinct].astype("float16" if half else "float32")
    queries = np.resize(base, (batch, dimensions)).astype(np.float32)
    scores, positions = VectorFile(vectors).exact(queries, k)
    hits = min(k, len(vectors))
    ids = np.arange(len(vectors))
    assert positions[:, :hits].tolist() == expected(queries, vectors, ids, hits)
    assert (positions[:, hits:] == -1).all()
    assert (np.diff(scores[:, :hits], axis=1) <= 0).all()


def test_scores_that_differ_in_their_last_bit_are_ordered_by_it():
    """Float32 products of a batch round to either side; the scores that are compared do not."""
    vectors = np.repeat(unit_vectors(1, 512), 300, axis=0)
    vectors[::2, 0] = np.nextafter(vectors[::2, 0], np.float32(9))
    queries = unit_vectors(40, 512, seed=1)
    alone = [VectorFile(vectors).exact(query[None], 5) for query in queries]
    scores, positions = VectorFile(vectors).exact(queries, 5)
    np.testing.assert_array_equal(np.concatenate([part[0] for part in alone]), scores)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in alone]), positions)
    assert positions.tolist() == expected(queries, vectors, np.arange(300), 5)


@pytest.mark.parametrize("batch", [1, 60])
def test_hits_of_the_nearest_lists_alone_keep_their_order(batch: int, tmp_path: Path):
    """Not all lists are searched, and what is found in them is the same for every k."""
    vectors = with_copies(distinct=3000, copies=300)
    settings = replace(KIND_SETTINGS["ivf"], kind="IVF8,Flat")
    index = make_index(tmp_path / "i", vectors, settings)
    queries = np.concatenate([unit_vectors(1), vectors[: batch - 1]])
    longest = index.search(queries, 25, parameters={"nprobe": 1})
    copies = np.flatnonzero((vectors == unit_vectors(1)).all(axis=1))
    assert longest[1][0].tolist() == copies[:25].tolist()
    for k in (1, 3, 7):
        scores, ids = index.search(queries, k, parameters={"nprobe": 1})
        np.testing.assert_array_equal(ids, longest[1][:, :k])
        np.testing.assert_array_equal(scores, longest[0][:, :k])


@pytest.fixture(scope="module")
def copied(bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of twelve copies of one image and six others."""
    folder = tmp_path_factory.mktemp("copied")
    first, *others = find_images(photos / "train")[0]
    (folder / "photos").mkdir()
    for number in range(12):
        shutil.copy(first, folder / "photos" / f"copy_{number:02}{first.suffix}")
    for number, other in enumerate(others[:6]):
        shutil.copy(other, folder / "photos" / f"other_{number}{other.suffix}")
    build_index(folder / "photos", Bundle.open(bundle), folder / "gallery.index")
    return folder


def test_copies_of_an_image_are_found_in_one_order_by_every_way_to_search(copied: Path):
    searcher = Searcher.open(copied / "gallery.index")
    images = sorted((copied / "photos").iterdir())
    longest = {image: searcher.search(image, 18) for image in images}
    ids = [hit.id for hit in longest[images[5]]]
    assert ids[:12] == sorted(ids[:12])
    assert {hit.path.name[:4] for hit in longest[images[5]][:12]} == {"copy"}
    assert all(longest[image] == longest[images[0]] for image in images[:12])
    for k in (1, 3, 18):
        assert all(searcher.search(image, k) == longest[image][:k] for image in images)
        together, _ = searcher.search_many(images, k)
        assert [[hit.id for hit in hits] for _, hits in together] == [
            [hit.id for hit in longest[image][:k]] for image in images
        ]


@pytest.mark.parametrize("way", RERANKINGS)
def test_a_reranked_search_begins_alike_for_every_k(way: str, copied: Path):
    searcher = Searcher.open(copied / "gallery.index")
    image = sorted((copied / "photos").iterdir())[5]
    longest = searcher.search(image, 18, RERANKINGS[way])
    for k in (1, 3, 7):
        assert searcher.search(image, k, RERANKINGS[way]) == longest[:k]
    copies = [hit for hit in longest if hit.path.name.startswith("copy")]
    assert len({hit.score for hit in copies}) == 1
    if way != "reciprocal":
        assert [hit.id for hit in copies] == sorted(hit.id for hit in copies)
