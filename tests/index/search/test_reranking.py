"""Each re-ranking against its formula written out with loops, and the options of a search."""

from pathlib import Path

import numpy as np
import pytest

from fgembed.index import Searcher
from fgembed.index.search.reranking import (
    RERANKINGS,
    Augmentation,
    Expansion,
    Reciprocal,
    Reranking,
)
from fgembed.index.segments.vector_file import VectorFile
from tests.index.making import unit_vectors

Array = np.ndarray


class FlatGallery:
    """A flat FAISS index of vectors whose ids are not their positions."""

    def __init__(self, vectors: Array) -> None:
        self.vectors = vectors
        self.ids = np.arange(len(vectors), dtype=np.int64) * 7 + 5
        self.rows = VectorFile(vectors)

    def search(self, queries: Array, k: int):
        scores, positions = self.rows.exact(queries, k)
        return scores, np.where(positions < 0, -1, self.ids[positions])

    def reconstruct(self, ids: Array) -> Array:
        return self.rows.take((ids - 5) // 7)


def scattered(count: int, seed: int = 0) -> Array:
    """Unit vectors without clusters, so that few neighbours are mutual."""
    vectors = np.random.default_rng(seed).normal(size=(count, 12))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def moved_by_hand(vector: Array, gallery: Array, neighbours: int, alpha: float) -> Array:
    """normalise(v + sum of score^alpha g), one neighbour after another."""
    scores = [float(vector @ other) for other in gallery]
    nearest = sorted(range(len(gallery)), key=lambda i: -scores[i])[:neighbours]
    moved = vector.astype(np.float64)
    for i in nearest:
        moved = moved + max(scores[i], 0.0) ** alpha * gallery[i]
    return np.asarray(moved / np.sqrt((moved**2).sum()))


def published_distances(vectors: Array, k1: int, k2: int, weight: float) -> Array:
    """Distances from the first image to the rest, set by set as the paper defines them."""
    distances = 1 - vectors.astype(np.float64) @ vectors.T
    count = len(vectors)
    order = [
        [i, *sorted((j for j in range(count) if j != i), key=lambda j: distances[i, j])]
        for i in range(count)
    ]

    def mutual(i: int, k: int) -> set[int]:
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encodings = np.zeros((count, count))
    for i in range(count):
        members = set(mutual(i, k1))
        for j in mutual(i, k1):
            theirs = mutual(j, round(k1 / 2))
            if len(theirs & mutual(i, k1)) > 2 / 3 * len(theirs):
                members |= theirs
        total = sum(np.exp(-distances[i, j]) for j in members)
        for j in members:
            encodings[i, j] = np.exp(-distances[i, j]) / total
    averaged = np.array([encodings[order[i][:k2]].mean(axis=0) for i in range(count)])
    jaccard = [
        1 - np.minimum(averaged[0], other).sum() / np.maximum(averaged[0], other).sum()
        for other in averaged
    ]
    return np.asarray((1 - weight) * np.array(jaccard) + weight * distances[0])[1:]


def test_expansion_searches_with_the_query_moved_towards_its_hits():
    vectors, query = unit_vectors(300), unit_vectors(1, seed=1)[0]
    gallery = FlatGallery(vectors)
    expected = np.argsort(-vectors @ moved_by_hand(query, vectors, 4, 3.0))[:10]
    ranked = Expansion(neighbours=4, alpha=3.0)(query, gallery, 10)
    assert ranked.tolist() == gallery.ids[expected].tolist()
    assert ranked.tolist() != gallery.ids[np.argsort(-vectors @ query)[:10]].tolist()


def test_the_nearest_hit_raises_vectors_on_its_side():
    """(1, 0) + 0.9 (0.9, 0.436) = (1.81, 0.392): then (0.6, 0.8) is before (0.8, -0.6)."""
    vectors = np.array([[0.9, 0.436], [0.8, -0.6], [0.6, 0.8]], dtype=np.float32)
    gallery, query = FlatGallery(vectors), np.array([1, 0], dtype=np.float32)
    assert Expansion(1, 1.0)(query, gallery, 3).tolist() == [5, 19, 12]
    assert Expansion(0, 1.0)(query, gallery, 3).tolist() == [5, 12, 19]


def test_a_neighbour_on_the_far_side_has_no_weight():
    """A weight of -0.216 for the third would add (0.13, 0.17), and the first would come first."""
    vectors = np.array([[0.6, 0.8], [0.61, -0.792], [-0.6, -0.8]], dtype=np.float32)
    gallery, query = FlatGallery(vectors), np.array([1, 0], dtype=np.float32)
    assert Expansion(3, 3.0)(query, gallery, 3).tolist() == [12, 5, 19]


def test_augmentation_compares_candidates_moved_towards_their_neighbours():
    vectors, query = unit_vectors(300), unit_vectors(1, seed=1)[0]
    gallery = FlatGallery(vectors)
    plain = np.argsort(-vectors @ query)
    scores = {
        i: float(moved_by_hand(vectors[i], np.delete(vectors, i, axis=0), 5, 2.0) @ query)
        for i in plain[:20].tolist()
    }
    expected = sorted(scores, key=lambda i: -scores[i]) + plain[20:30].tolist()
    ranked = Augmentation(neighbours=5, alpha=2.0, candidates=20)(query, gallery, 30)
    assert ranked.tolist() == gallery.ids[expected].tolist()
    assert expected != plain[:30].tolist()


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 3), (5, 1)])
def test_reciprocal_with_all_images_as_candidates_is_the_published_ranking(k1: int, k2: int):
    vectors, query = scattered(120), scattered(1, seed=1)[0]
    gallery = FlatGallery(vectors)
    distances = published_distances(np.concatenate([query[None], vectors]), k1, k2, 0.3)
    ranked = Reciprocal(k1, k2, 0.3, candidates=120)(query, gallery, 120)
    assert ranked.tolist() == gallery.ids[np.argsort(distances)].tolist()
    assert ranked.tolist() != gallery.ids[np.argsort(-vectors @ query)].tolist()


def test_reciprocal_uses_neighbours_of_the_candidates_that_are_no_candidates():
    """The pool is the query, its 10 candidates, and whatever is among the 5 nearest of those."""
    vectors, query = scattered(300), scattered(1, seed=1)[0]
    gallery = FlatGallery(vectors)
    plain = np.argsort(-vectors @ query)
    first, pool = plain[:10].tolist(), plain[:10].tolist()
    for i in first:
        nearest = np.argsort(-vectors @ vectors[i])[:6].tolist()
        pool += [j for j in nearest if j not in pool]
    orders = []
    for members in (pool, first):
        encoded = np.concatenate([query[None], vectors[members]])
        orders.append(np.argsort(published_distances(encoded, 5, 3, 0.3)[:10]).tolist())
    assert orders[0] != orders[1]
    expected = [first[i] for i in orders[0]] + plain[10:15].tolist()
    ranked = Reciprocal(5, 3, 0.3, candidates=10)(query, gallery, 15)
    assert ranked.tolist() == gallery.ids[expected].tolist()


def test_weight_1_gives_the_order_of_the_cosine():
    vectors, query = unit_vectors(300), unit_vectors(1, seed=1)[0]
    gallery = FlatGallery(vectors)
    ranked = Reciprocal(weight=1.0)(query, gallery, 50)
    assert ranked.tolist() == gallery.ids[np.argsort(-vectors @ query)[:50]].tolist()


@pytest.mark.parametrize("name", sorted(RERANKINGS))
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_gallery_smaller_than_the_parameters_is_ordered_completely(name: str, count: int):
    gallery, query = FlatGallery(unit_vectors(count)), unit_vectors(1, seed=1)[0]
    assert sorted(RERANKINGS[name](query, gallery, count)) == gallery.ids.tolist()


@pytest.mark.parametrize("name", sorted(RERANKINGS))
def test_copies_of_an_image_are_all_ranked_once(name: str):
    vectors = np.repeat(unit_vectors(4), 30, axis=0)
    gallery, query = FlatGallery(vectors), unit_vectors(1, seed=1)[0]
    assert sorted(RERANKINGS[name](query, gallery, 120)) == gallery.ids.tolist()


@pytest.mark.parametrize("reranking", [Expansion(4), Augmentation(4), Reciprocal(4)])
def test_a_reranked_search_shows_cosines_in_the_new_order(reranking: Reranking, index: Path):
    searcher = Searcher.open(index)
    query = unit_vectors(1, searcher.manifest.dimensions, seed=3)
    (plain,), (hits,) = (searcher.search_vectors(query, 24, method) for method in (None, reranking))
    assert [hit.id for hit in hits] == reranking(query[0], searcher.vectors, 24).tolist()
    assert [hit.id for hit in hits] != [hit.id for hit in plain]
    assert [hit.rank for hit in hits] == list(range(1, 25))
    plain_hits = {hit.id: hit for hit in plain}
    assert [hit.path for hit in hits] == [plain_hits[hit.id].path for hit in hits]
    expected = [plain_hits[hit.id].score for hit in hits]
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-6)
    assert [h.id for h in searcher.search_vectors(query, 3, reranking)[0]] == [
        h.id for h in hits[:3]
    ]
