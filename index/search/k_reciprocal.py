"""K-reciprocal encodings of a pool of pictures, and their Jaccard distance (numpy).

Source: Zhong et al., CVPR 2017, arXiv:1701.08398, sections 3.2 to 3.4.
"""

import numpy as np
from numpy.typing import NDArray

from fgembed.embedding.array_types import Ids, Vectors

Mask = NDArray[np.bool_]


def reciprocal_encodings(distances: Vectors, k1: int, k2: int, count: int) -> Vectors:
    """The encodings (count, M) of the first `count` of M pictures.

    An encoding holds exp(-distance) for the picture's k-reciprocal neighbours, zero for all
    others; it sums to 1 and is then averaged over the k2 nearest, the picture itself among them.

    Args:
        distances: (M, M), symmetric.
        k1: neighbours that must be mutual.
        k2: encodings that are averaged.
        count: how many are asked for.
    """
    order = _nearest(distances, k1 + 1)  # (M, k1 + 1)
    members = _expanded(order, k1)
    weights = np.where(members, np.exp(-distances), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    averaged: Vectors = weights[order[:count, :k2]].mean(axis=1)
    return averaged


def jaccard_distances(encoding: Vectors, others: Vectors) -> Vectors:
    """1 - sum of minima / sum of maxima of an encoding (M,) and each of the others (N, M)."""
    shared = np.minimum(encoding, others).sum(axis=1)
    distances: Vectors = 1 - shared / np.maximum(encoding, others).sum(axis=1)
    return distances


def _nearest(distances: Vectors, k: int) -> Ids:
    """The k nearest of each by rising distance, itself first, (M, at most k)."""
    ranked = distances.copy()
    np.fill_diagonal(ranked, -np.inf)
    k = min(k, len(ranked))
    nearest = np.argpartition(ranked, k - 1, axis=1)[:, :k]  # a fifth of the time of a full sort
    order = np.argsort(np.take_along_axis(ranked, nearest, axis=1), axis=1, kind="stable")
    return np.take_along_axis(nearest, order, axis=1)


def _expanded(order: Ids, k1: int) -> Mask:
    """Each picture's k-reciprocal neighbours R* as a row, (M, M).

    R(i) are those within i's k1 nearest that have i within their own. A neighbour's R of half the
    size joins where more than two thirds of it are in R(i) already (the paper's eq. 5).
    """
    half = order[:, : round(k1 / 2) + 1]
    mutual, mutual_half = _mutual(order), _mutual(half)
    rows = np.arange(len(order))[:, None]
    members = np.zeros((len(order), len(order)), dtype=bool)
    members[np.broadcast_to(rows, order.shape)[mutual], order[mutual]] = True
    theirs, valid = half[order], mutual_half[order]  # (M, k1 + 1, half): of i's a-th neighbour
    shared = (members[rows[..., None], theirs] & valid).sum(axis=2)
    joins = mutual & (3 * shared > 2 * valid.sum(axis=2))  # (M, k1 + 1)
    picture, neighbour, place = np.nonzero(joins[..., None] & valid)
    members[picture, theirs[picture, neighbour, place]] = True
    return members


def _mutual(order: Ids) -> Mask:
    """Whether picture i is among the nearest of its a-th nearest, (M, k)."""
    return np.asarray((order[order] == np.arange(len(order))[:, None, None]).any(axis=2))
