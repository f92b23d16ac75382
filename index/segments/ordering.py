"""The order of results: by falling score, equal scores by rising id, for every k and every batch.

A matrix product gives one pair of vectors other last bits in another row or batch, and FAISS keeps
any of several equal scores. So FAISS proposes more than k, these are scored pair by pair, and
where equal ones may be missing among the proposed, all vectors are compared with the k-th score.
"""

import numpy as np
from numpy.typing import NDArray

from fgembed.embedding.array_types import Ids, Vectors

CHUNK_BYTES = 1 << 24  # of vectors at once
SPARE = 8  # proposed besides k, so that the score after the k-th is known

Results = tuple[Vectors, Ids]  # scores and positions or ids, (Q, any) each


def with_spare(k: int) -> int:
    """How many results are to be proposed, so that the first k of them can be settled.

    Example:
        >>> with_spare(10), with_spare(1600)
        (18, 1708)
    """
    return k + SPARE + k // 16


def rounding(queries: Vectors) -> Vectors:
    """How far float32 inner products of queries (Q, D) with unit vectors may be off, (Q,).

    Four times the error that is to be expected of D roundings.
    """
    lengths: Vectors = np.sqrt((queries * queries).sum(axis=1))
    return np.asarray(2.0**-22 * queries.shape[1] ** 0.5 * lengths)


def pair_scores(array: Vectors, queries: Vectors, positions: Ids) -> Vectors:
    """The inner products of queries (Q, D) with the rows of `array` at positions (Q, M), (Q, M).

    Each depends on its two vectors alone: the products are exact in float64, and the bits of their
    sum that depend on its order are rounded away. -inf for position -1.

    Example:
        >>> pair_scores(np.eye(3), np.array([[0.6, 0.8, 0.0]]), np.array([[1, 0, -1]])).tolist()
        [[0.800000011920929, 0.6000000238418579, -inf]]
    """
    wide = queries.astype(np.float64)
    scores = np.empty(positions.shape, np.float32)
    columns = max(1, CHUNK_BYTES // (8 * array.shape[1]))
    rows = max(1, columns // positions.shape[1])
    for start in range(0, len(wide), rows):
        for left in range(0, positions.shape[1], columns):
            part = slice(start, start + rows), slice(left, left + columns)
            vectors = array[positions[part]].astype(np.float64)  # (q, m, D)
            scores[part] = np.matmul(vectors, wide[part[0], :, None])[..., 0]
    scores[positions < 0] = -np.inf
    return scores


def merge(parts: list[Results], k: int) -> Results:
    """The k best of several results, each scores and ids (Q, any); equal scores by rising id.

    Example:
        >>> first = np.array([[0.9, 0.1]]), np.array([[7, 8]])
        >>> second = np.array([[0.9]]), np.array([[3]])
        >>> merge([first, second], k=2)[1].tolist()
        [[3, 7]]
    """
    scores, ids = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    return ranked(scores, ids, ids, k)


def ranked(scores: Vectors, positions: Ids, ids: Ids, k: int) -> Results:
    """The k best scores and positions of (Q, any), equal scores by rising id (Q, any)."""
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    rows = np.arange(len(order))[:, None]
    return scores[rows, order], positions[rows, order]


def is_cut(queries: Vectors, scores: Vectors, k: int) -> NDArray[np.bool_]:
    """Whether vectors that were not proposed may reach a query's k-th score, (Q,).

    Args:
        queries: (Q, D).
        scores: of the proposed, float32, by falling score, (Q, more than k).
        k: number of results.
    """
    return np.asarray(scores[:, -1] >= scores[:, k - 1] - 2 * rounding(queries))
