"""Every vector of a graph can be found, however many copies there are of one."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from fgembed.index.segments.faiss_index import innermost
from fgembed.index.segments.hnsw_repair import Level0Graph, reconnect
from fgembed.index.segments.segment_builder import IndexSettings
from tests.index.making import EVERYTHING, make_index, unit_vectors


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
    links = Level0Graph(index).links
    lonely = 137
    links[links == lonely] = 0
    assert Level0Graph(index).lost.tolist() == [lonely]
    assert found(index, vectors[:3]) == [499] * 3
    assert reconnect(index) == 1
    assert found(index, vectors[:3]) == [500] * 3
    assert reconnect(index) == 0


def test_copies_are_all_reached_and_nothing_else_is_lost_for_them():
    copy = unit_vectors(1, seed=5)
    vectors = np.concatenate([unit_vectors(2000), copy.repeat(700, axis=0)])
    np.random.default_rng(0).shuffle(vectors)
    index = graph_of(vectors)
    assert len(Level0Graph(index).lost) > 300  # FAISS's own graph
    assert reconnect(index) > 300
    assert found(index, np.concatenate([unit_vectors(5, seed=1), copy])) == [2700] * 6
    assert len(Level0Graph(index).lost) == 0


def test_no_vertex_or_no_neighbour_needs_no_link():
    for count in range(3):
        assert reconnect(graph_of(unit_vectors(count))) == 0


@pytest.mark.parametrize("seed", range(8))
def test_no_search_is_trapped_among_copies(seed: int):
    """It comes down to level 0 at any vertex of a higher level; FAISS's own graph keeps some."""
    groups = [unit_vectors(1, 16, 100 * seed + n).repeat(150, axis=0) for n in range(3)]
    vectors = np.concatenate([unit_vectors(500, 16, seed), *groups])
    np.random.default_rng(seed).shuffle(vectors)
    index = faiss.IndexHNSWFlat(16, 4, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    queries = np.concatenate([unit_vectors(30, 16, 99), *(group[:1] for group in groups)])
    assert min(found(index, queries)) < 950
    reconnect(index)
    assert found(index, queries) == [950] * 33
    assert not len(Level0Graph(index).trapped)


def test_copies_are_linked_from_one_another(monkeypatch: pytest.MonkeyPatch):
    """Comparing everything for each of them would take the square of their number."""
    vectors = np.concatenate([unit_vectors(300), unit_vectors(1, seed=5).repeat(3000, axis=0)])
    np.random.default_rng(0).shuffle(vectors)
    near, compared = Level0Graph.near, []

    def counted(*arguments: Any) -> Any:
        compared.append(arguments)
        return near(*arguments)

    monkeypatch.setattr(Level0Graph, "near", counted)
    assert reconnect(graph_of(vectors)) > 2000
    assert len(compared) < 300


@pytest.mark.parametrize("kind", ["hnsw", "HNSW16", "PCA12,HNSW16"])
def test_an_index_of_many_copies_finds_them_all(kind: str, tmp_path: Path, small_lists):
    vectors = np.concatenate([unit_vectors(400), unit_vectors(1, seed=5).repeat(900, axis=0)])
    np.random.default_rng(0).shuffle(vectors)
    index = make_index(tmp_path / "i", vectors, IndexSettings(kind))
    _, ids = index.search(unit_vectors(2, seed=1), 1300, parameters=EVERYTHING)
    structure = index.segments[0].structure
    assert structure is not None
    ground = Level0Graph(innermost(structure.base))
    assert (len(ground.lost), len(ground.trapped)) == (0, 0)
    assert [len(set(row.tolist()) - {-1}) for row in ids] == [1300, 1300]
