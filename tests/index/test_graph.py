"""Every vector of a graph can be found, however many copies there are of one."""

from typing import Any

import faiss
import numpy as np

from fgembed.index.graph import Ground, reconnect
from tests.index.making import EVERYTHING, WISHES, make_index, unit_vectors


def graph_of(vectors: np.ndarray) -> Any:
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    return index


def found(index: Any, queries: np.ndarray) -> list[int]:
    """How many of all vectors each query finds."""
    chosen = faiss.SearchParametersHNSW(efSearch=10**5)
    _, positions = index.search(queries, index.ntotal, params=chosen)
    return [int((row >= 0).sum()) for row in positions]


def test_a_vector_that_nothing_links_to_is_linked():
    vectors = unit_vectors(500)
    index = graph_of(vectors)
    links = Ground(index).links
    lonely = 137
    links[links == lonely] = 0
    assert Ground(index).lost.tolist() == [lonely]
    assert found(index, vectors[:3]) == [499] * 3
    assert reconnect(index) == 1
    assert found(index, vectors[:3]) == [500] * 3
    assert reconnect(index) == 0


def test_copies_are_all_reached_and_nothing_else_is_lost_for_them():
    copy = unit_vectors(1, seed=5)
    vectors = np.concatenate([unit_vectors(2000), copy.repeat(700, axis=0)])
    np.random.default_rng(0).shuffle(vectors)
    index = graph_of(vectors)
    assert len(Ground(index).lost) > 300  # FAISS's own graph
    assert reconnect(index) > 300
    assert found(index, np.concatenate([unit_vectors(5, seed=1), copy])) == [2700] * 6
    assert len(Ground(index).lost) == 0


def test_no_vertex_or_no_neighbour_needs_no_link():
    for count in range(3):
        assert reconnect(graph_of(unit_vectors(count))) == 0


def test_an_index_of_many_copies_finds_them_all(tmp_path, monkeypatch):
    monkeypatch.setattr("fgembed.index.kinds.FLAT_BYTES", 0)
    vectors = np.concatenate([unit_vectors(400), unit_vectors(1, seed=5).repeat(300, axis=0)])
    np.random.default_rng(0).shuffle(vectors)
    index = make_index(tmp_path / "i", vectors, WISHES["hnsw"])
    _, ids = index.search(unit_vectors(2, seed=1), 700, parameters=EVERYTHING)
    assert index.segments[0].structure is not None
    assert [len(set(row.tolist()) - {-1}) for row in ids] == [700, 700]
