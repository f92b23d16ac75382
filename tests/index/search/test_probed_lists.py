"""A searcher of an inverted file visits as many lists as the manifest says, and no more."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.index import Searcher
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.model_binding import model_of
from fgembed.index.search.reranking import Augmentation, Expansion, Reciprocal, Reranking
from fgembed.index.segments.segment_builder import IndexSettings
from tests.index.making import ProbedGallery, make_index, scattered_vectors, set_nprobe


@pytest.fixture(scope="module")
def inverted(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 16 lists, bound to the bundle."""
    opened, folder = Bundle.open(bundle), tmp_path_factory.mktemp("inverted") / "i"
    vectors = scattered_vectors(2000, opened.config.dimensions)
    make_index(folder, vectors, IndexSettings("IVF16,Flat"))
    replace(Manifest.read(folder), model=model_of(opened, folder)).write(folder)
    return folder


def ids_of(
    searcher: Searcher, queries: np.ndarray, rerank: Reranking | None = None
) -> list[list[int]]:
    return [[hit.id for hit in hits] for hits in searcher.search_vectors(queries, 10, rerank)]


@pytest.mark.parametrize("batch", [1, 30])
def test_hits_are_those_of_the_nearest_lists(batch: int, inverted: Path):
    ids = {}
    for nprobe in (1, 2, 5):
        set_nprobe(inverted, nprobe)
        searcher = Searcher.open(inverted)
        queries = scattered_vectors(batch, searcher.manifest.dimensions, seed=3)
        expected = ProbedGallery.of(searcher.vectors, nprobe).search(queries, 10)[1]
        ids[nprobe] = ids_of(searcher, queries)
        assert ids[nprobe] == expected.tolist()
    assert ids[1] != ids[2] != ids[5]


@pytest.mark.parametrize("way", [Expansion(4), Augmentation(4, 3.0, 30), Reciprocal(7, 3, 0.3, 30)])
def test_reranking_searches_the_nearest_lists(way: Reranking, inverted: Path):
    set_nprobe(inverted, 3)
    searcher = Searcher.open(inverted)
    queries = scattered_vectors(8, searcher.manifest.dimensions, seed=3)
    gallery = ProbedGallery.of(searcher.vectors, 3)
    expected = [way(query, gallery, 10).tolist() for query in queries]
    assert ids_of(searcher, queries, way) == expected
    for nprobe in (2, 16):  # a wrong nprobe would show
        other = replace(gallery, nprobe=nprobe)
        assert [way(query, other, 10).tolist() for query in queries] != expected
