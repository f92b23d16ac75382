"""Orders a search's hits anew by what the pictures found say of one another; needs no labels.

Each way is a frozen record of its parameters. Called with a query, what can be searched and k, it
gives ids, best first. The index stays as it is: vectors are read back from it by id.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fgembed.embedding.array_types import Ids, Vectors
from fgembed.index.search.k_reciprocal import jaccard_distances, reciprocal_encodings


class Gallery(Protocol):
    """What a way of re-ranking asks of an index."""

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Cosines and ids, (Q, k) each, nearest first; id -1 where fewer were found."""
        ...

    def reconstruct(self, ids: Ids) -> Vectors:
        """The unit vectors (N, D) of the ids (N,)."""
        ...


class Reranking(Protocol):
    """A way to order hits anew."""

    def __call__(self, query: Vectors, gallery: Gallery, k: int) -> Ids:
        """The k best ids for a unit vector (D,), best first; fewer where fewer are found."""
        ...


@dataclass(frozen=True)
class Expansion:
    """Alpha query expansion: a second search with the query moved towards its first hits.

    q' = normalise(q + sum of score^alpha g) over its nearest g (Radenovic et al.,
    arXiv:1711.02512). A negative score counts as zero: its power would have either sign.

    Attributes:
        neighbours: hits that move the query; 50 as we recall it published, not checked.
        alpha: how fast the weight falls with the score, likewise; 0 is the plain average.
    """

    neighbours: int = 50
    alpha: float = 3.0

    def __call__(self, query: Vectors, gallery: Gallery, k: int) -> Ids:
        """Two searches."""
        nobody = np.array([-1])
        moved = _moved(query[None], nobody, gallery, self.neighbours, self.alpha)
        return _found(moved, gallery, k)


@dataclass(frozen=True)
class Augmentation:
    """Database-side augmentation of the first hits: each is moved towards its own neighbours.

    g' = normalise(g + sum of score^alpha h) over the nearest h of g, and g' takes g's place
    beside the query (Arandjelovic and Zisserman, CVPR 2012, with the weights of `Expansion`).
    Published for the whole gallery ahead of all searches; here for the candidates at search time,
    so that the index keeps its pictures' own vectors. Later hits keep their places.

    Attributes:
        neighbours: pictures that move a candidate.
        alpha: how fast the weight falls with the score; 0 is the plain average.
        candidates: hits that are ordered anew.
    """

    neighbours: int = 20
    alpha: float = 3.0
    candidates: int = 100

    def __call__(self, query: Vectors, gallery: Gallery, k: int) -> Ids:
        """One search, and one for each candidate."""
        found = _found(query[None], gallery, max(k, self.candidates))
        first = found[: self.candidates]
        own = gallery.reconstruct(first)
        scores = _moved(own, first, gallery, self.neighbours, self.alpha) @ query
        return _reordered(found, -scores, k)


@dataclass(frozen=True)
class Reciprocal:
    """K-reciprocal re-ranking of the first hits (Zhong et al., CVPR 2017, arXiv:1701.08398).

    Two pictures are near where they have the same k-reciprocal neighbours: distance =
    (1 - weight) x Jaccard distance of their encodings + weight x (1 - cosine). Later hits keep
    their places. Differs from the paper's code in two ways, both so that one query can be asked
    of a gallery of any size: encodings are made among query, candidates and the k1 neighbours of
    each, never of other queries; and 1 - cosine is not divided by its largest value. Defaults as
    published.

    Attributes:
        k1: neighbours that must be mutual.
        k2: encodings that are averaged (the paper's local query expansion); 1 averages none.
        weight: of 1 - cosine, the paper's lambda.
        candidates: hits that are ordered anew.
    """

    k1: int = 20
    k2: int = 6
    weight: float = 0.3
    candidates: int = 100

    def __call__(self, query: Vectors, gallery: Gallery, k: int) -> Ids:
        """One search, and one for each candidate."""
        found = _found(query[None], gallery, max(k, self.candidates))
        first = found[: self.candidates]
        own = gallery.reconstruct(first)
        around = np.setdiff1d(gallery.search(own, self.k1 + 1)[1], [-1, *first])
        everyone = np.concatenate([query[None], own, gallery.reconstruct(around)])
        distances = 1 - everyone @ everyone.T
        encodings = reciprocal_encodings(distances, self.k1, self.k2, 1 + len(first))
        jaccard = jaccard_distances(encodings[0], encodings[1:])
        plain = distances[0, 1 : 1 + len(first)]
        return _reordered(found, (1 - self.weight) * jaccard + self.weight * plain, k)


RERANKINGS: dict[str, Reranking] = {
    "expansion": Expansion(),
    "reciprocal": Reciprocal(),
    "augmentation": Augmentation(),
}


def _found(query: Vectors, gallery: Gallery, k: int) -> Ids:
    """The ids of at most k hits of a query (1, D)."""
    ids: Ids = gallery.search(query, k)[1][0]
    return ids[ids >= 0]


def _reordered(found: Ids, distances: Vectors, k: int) -> Ids:
    """The first of `found` by rising distance, equals as they were, then the others."""
    order = np.argsort(distances, kind="stable")
    return np.concatenate([found[order], found[len(order) :]])[:k]


def _moved(vectors: Vectors, own: Ids, gallery: Gallery, neighbours: int, alpha: float) -> Vectors:
    """normalise(v + sum of score^alpha g) over each vector's nearest g but itself.

    Args:
        vectors: (Q, D), unit.
        own: (Q,) their ids, -1 where they are in no index.
        gallery: where their neighbours are looked up.
        neighbours: how many.
        alpha: power of the score.
    """
    scores, ids = gallery.search(vectors, neighbours + 1)
    left_out = (ids == own[:, None]) | (ids < 0)
    kept = np.argsort(left_out, axis=1, kind="stable")[:, :neighbours]
    weights = np.where(left_out, 0, np.maximum(scores, 0) ** alpha)
    weights, ids = (np.take_along_axis(each, kept, axis=1) for each in (weights, ids))
    known = np.unique(ids[ids >= 0])
    nearest = gallery.reconstruct(known)[np.searchsorted(known, ids)]  # (Q, neighbours, D)
    sums = vectors + np.einsum("qn,qnd->qd", weights, nearest)
    lengths: Vectors = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / lengths, dtype=np.float32)
