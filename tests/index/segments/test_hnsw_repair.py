"""A search reaches every vector of a graph, however many copies there are of one."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from fgembed.index.segments.faiss_index import innermost
from fgembed.index.segments.hnsw_repair import Level0Graph, reconnect
from fgembed.index.segments.segment_builder import IndexSettings
from tests.index.making import EXHAUSTIVE, make_index, unit_vectors


def graph_of(vectors: np.ndarray) -> Any:
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    return index


def hit_counts(index: Any, queries: np.ndarray) -> list[int]:
    """The number of vectors that a search of each query returns if all are requested."""
    parameters = faiss.SearchParametersHNSW(efSearch=10**5)
    _, positions = index.search(queries, index.ntotal, params=parameters)
    return [int((row >= 0).sum()) for row in positions]


def test_a_vector_without_a_link_to_it_is_linked():
    vectors = unit_vectors(500)
    index = graph_of(vectors)
    links = Level0Graph(index).links
    unlinked = 137
    links[links == unlinked] = 0
    assert Level0Graph(index).unreached.tolist() == [unlinked]
    assert hit_counts(index, vectors[:3]) == [499] * 3
    assert reconnect(index) == 1
    assert hit_counts(index, vectors[:3]) == [500] * 3
    assert reconnect(index) == 0


def test_all_copies_are_reached_and_no_other_vector_is_lost():
    copy = unit_vectors(1, seed=5)
    vectors = np.concatenate([unit_vectors(2000), copy.repeat(700, axis=0)])
    np.random.default_rng(0).shuffle(vectors)
    index = graph_of(vectors)
    assert len(Level0Graph(index).unreached) > 300  # FAISS's own graph
    assert reconnect(index) > 300
    assert hit_counts(index, np.concatenate([unit_vectors(5, seed=1), copy])) == [2700] * 6
    assert len(Level0Graph(index).unreached) == 0


def test_a_graph_of_at_most_two_vertices_needs_no_link():
    for count in range(3):
        assert reconnect(graph_of(unit_vectors(count))) == 0


@pytest.mark.parametrize("seed", range(8))
def test_no_search_is_trapped_among_copies(seed: int):
    """It enters level 0 at any vertex of a higher level; FAISS's own graph traps some searches."""
    groups = [unit_vectors(1, 16, 100 * seed + n).repeat(150, axis=0) for n in range(3)]
    vectors = np.concatenate([unit_vectors(500, 16, seed), *groups])
    np.random.default_rng(seed).shuffle(vectors)
    index = faiss.IndexHNSWFlat(16, 4, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    queries = np.concatenate([unit_vectors(30, 16, 99), *(group[:1] for group in groups)])
    assert min(hit_counts(index, queries)) < 950
    reconnect(index)
    assert hit_counts(index, queries) == [950] * 33
    assert not len(Level0Graph(index).trapped)


def test_a_copy_is_linked_from_the_copy_before_it(monkeypatch: pytest.MonkeyPatch):
    """To compare all vectors for every copy would take the square of their number."""
    vectors = np.concatenate([unit_vectors(300), unit_vectors(1, seed=5).repeat(3000, axis=0)])
    np.random.default_rng(0).shuffle(vectors)
    nearest, compared = Level0Graph.nearest, []

    def counted(*arguments: Any) -> Any:
        compared.append(arguments)
        return nearest(*arguments)

    monkeypatch.setattr(Level0Graph, "nearest", counted)
    assert reconnect(graph_of(vectors)) > 2000
    assert len(compared) < 300


@pytest.mark.parametrize("kind", ["hnsw", "HNSW16", "PCA12,HNSW16"])
def test_an_index_with_hundreds_of_copies_finds_them_all(kind: str, tmp_path: Path, small_lists):
    vectors = np.concatenate([unit_vectors(400), unit_vectors(1, seed=5).repeat(900, axis=0)])
    np.random.default_rng(0).shuffle(vectors)
    index = make_index(tmp_path / "i", vectors, IndexSettings(kind))
    _, ids = index.search(unit_vectors(2, seed=1), 1300, parameters=EXHAUSTIVE)
    structure = index.segments[0].structure
    assert structure is not None
    graph = Level0Graph(innermost(structure.faiss_index))
    assert (len(graph.unreached), len(graph.trapped)) == (0, 0)
    assert [len(set(row.tolist()) - {-1}) for row in ids] == [1300, 1300]
