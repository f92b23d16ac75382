"""Re-ranking: orders the hits of a search again by the hits' own neighbours, without labels.

Each method is a frozen dataclass of its parameters. Called with a query, a gallery and k, it
returns ids, best first. The index is not changed: vectors are read back from it by id.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fgembed.embedding.array_types import Ids, Vectors
from fgembed.index.search.k_reciprocal import jaccard_distances, reciprocal_encodings

if TYPE_CHECKING:
    from fgembed.index.search.open_index import IndexedVectors

DIGITS = 5  # of a distance; the sums and products of equal vectors differ in later ones


class Gallery(Protocol):
    """The vectors that a re-ranking searches, such as an open index."""

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Cosines and ids of the k nearest, (Q, k) each, nearest first; id -1 pads a short row."""
        ...

    def reconstruct(self, ids: Ids) -> Vectors:
        """The unit vectors (N, D) of the ids (N,)."""
        ...


@dataclass(frozen=True)
class FilteredGallery:
    """The vectors of an index whose items meet an SQL condition; all of them without one."""

    vectors: "IndexedVectors"
    where: str | None

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Cosines and ids of the k nearest, (Q, k) each, nearest first; id -1 pads a short row."""
        return self.vectors.search(queries, k, self.where)

    def reconstruct(self, ids: Ids) -> Vectors:
        """The unit vectors (N, D) of the ids (N,)."""
        return self.vectors.reconstruct(ids)


class Reranking(Protocol):
    """A re-ranking method with its parameters."""

    def __call__(self, query: Vectors, gallery: Gallery, k: int) -> Ids:
        """The k best ids for a unit vector (D,), best first; fewer if the gallery has fewer."""
        ...


@dataclass(frozen=True)
class Expansion:
    """Alpha query expansion: a second search with the query moved towards its first hits.

    q' = normalise(q + sum of score^alpha g) over the query's nearest g (Radenovic et al.,
    arXiv:1711.02512). A negative score counts as zero, since its power can be positive.

    Attributes:
        neighbours: hits that move the query. 50 is from memory of the paper, not checked.
        alpha: exponent of the score, likewise; 0 weighs all neighbours alike.

    Example:
        for hit in searcher.search("query.jpg", k=5, rerank=Expansion(neighbours=10)):
            print(hit.score, hit.path)
    """

    neighbours: int = 50
    alpha: float = 3.0

    def __call__(self, query: Vectors, gallery: Gallery, k: int) -> Ids:
        """The k best ids for a unit vector (D,), by two searches."""
        no_id = np.array([-1])
        moved = _moved(query[None], no_id, gallery, self.neighbours, self.alpha)
        return _nearest(moved, gallery, k)


@dataclass(frozen=True)
class Augmentation:
    """Database-side augmentation of the first hits: each is moved towards its own neighbours.

    g' = normalise(g + sum of score^alpha h) over the nearest h of g, and the query is compared
    with g' in place of g (Arandjelovic and Zisserman, CVPR 2012, with the weights of `Expansion`).
    The paper augments the full gallery before all searches. We augment the candidates of each
    search, so that the index keeps the original vectors. Hits after the candidates keep their
    order.

    Attributes:
        neighbours: gallery vectors that move a candidate.
        alpha: exponent of the score; 0 weighs all neighbours alike.
        candidates: first hits that are ordered again.
    """

    neighbours: int = 20
    alpha: float = 3.0
    candidates: int = 100

    def __call__(self, query: Vectors, gallery: Gallery, k: int) -> Ids:
        """The k best ids for a unit vector (D,), by a search and one for each candidate."""
        hits = _nearest(query[None], gallery, max(k, self.candidates))
        candidates = hits[: self.candidates]
        vectors = gallery.reconstruct(candidates)
        scores = _moved(vectors, candidates, gallery, self.neighbours, self.alpha) @ query
        return _reordered(hits, -scores, k)


@dataclass(frozen=True)
class Reciprocal:
    """K-reciprocal re-ranking of the first hits (Zhong et al., CVPR 2017, arXiv:1701.08398).

    Two images are near if they share their k-reciprocal neighbours: distance =
    (1 - weight) x Jaccard distance of their encodings + weight x (1 - cosine). Hits after the
    candidates keep their order. Defaults as published.

    The paper's code differs in two ways. It encodes all queries and the full gallery together; we
    encode one query, its candidates and the k1 neighbours of each, so that a gallery may have any
    size. And it divides 1 - cosine by its largest value, which would depend on the other queries.

    Attributes:
        k1: neighbours among which each image must have the other.
        k2: encodings in each average (the paper's local query expansion); 1 averages none.
        weight: of 1 - cosine, in [0, 1]; the paper's lambda.
        candidates: first hits that are ordered again.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3
    candidates: int = 100

    def __call__(self, query: Vectors, gallery: Gallery, k: int) -> Ids:
        """The k best ids for a unit vector (D,), by a search and one for each candidate."""
        hits = _nearest(query[None], gallery, max(k, self.candidates))
        candidates = hits[: self.candidates]
        vectors = gallery.reconstruct(candidates)
        around = np.setdiff1d(gallery.search(vectors, self.k1 + 1)[1], [-1, *candidates])
        pool = np.concatenate([query[None], vectors, gallery.reconstruct(around)])  # (M, D)
        distances = 1 - pool @ pool.T
        encodings = reciprocal_encodings(distances, self.k1, self.k2, 1 + len(candidates))
        jaccard = jaccard_distances(encodings[0], encodings[1:])
        plain = distances[0, 1 : 1 + len(candidates)]
        return _reordered(hits, (1 - self.weight) * jaccard + self.weight * plain, k)


RERANKINGS: dict[str, Reranking] = {
    "expansion": Expansion(),
    "reciprocal": Reciprocal(),
    "augmentation": Augmentation(),
}


def _nearest(query: Vectors, gallery: Gallery, k: int) -> Ids:
    """The ids of the k nearest of a query (1, D); fewer if the gallery has fewer."""
    ids: Ids = gallery.search(query, k)[1][0]
    return ids[ids >= 0]


def _reordered(hits: Ids, distances: Vectors, k: int) -> Ids:
    """The first C of the hits by rising distance (C,), equal ones in their order; then the rest."""
    order = np.argsort(np.round(distances, DIGITS), kind="stable")
    return np.concatenate([hits[order], hits[len(order) :]])[:k]


def _moved(
    vectors: Vectors, vector_ids: Ids, gallery: Gallery, neighbours: int, alpha: float
) -> Vectors:
    """normalise(v + sum of score^alpha g) over each vector's nearest g but itself.

    Args:
        vectors: (Q, D), unit.
        vector_ids: (Q,) their ids in the gallery, -1 for a vector that is not in it.
        gallery: searched for the neighbours.
        neighbours: number of neighbours of each vector.
        alpha: exponent of the score.
    """
    scores, ids = gallery.search(vectors, neighbours + 1)
    excluded = (ids == vector_ids[:, None]) | (ids < 0)
    selected = np.argsort(excluded, axis=1, kind="stable")[:, :neighbours]
    weights = np.where(excluded, 0, np.maximum(scores, 0) ** alpha)
    weights, ids = (np.take_along_axis(array, selected, axis=1) for array in (weights, ids))
    unique = np.unique(ids[ids >= 0])
    nearest = gallery.reconstruct(unique)[np.searchsorted(unique, ids)]  # (Q, neighbours, D)
    sums = vectors + np.einsum("qn,qnd->qd", weights, nearest)
    lengths: Vectors = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / lengths, dtype=np.float32)
