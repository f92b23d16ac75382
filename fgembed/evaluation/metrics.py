"""Retrieval metrics over vectors, in numpy; each query is scored by itself.

Vectors are of unit length and scores are inner products, so a higher score is nearer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgembed.embedding.array_types import Labels, Vectors

TIE_DIGITS = 6  # of a score; rounding in a matrix product changes later ones
PAGE = 10  # hits that people look at


@dataclass(frozen=True)
class QueryScores:
    """The scores of Q queries, arrays of (Q,).

    Attributes:
        recall: for each k, 1.0 where one of the first k hits has the query's label, else 0.0.
        precision_at_10: the share of the first ten hits that have the query's label; of all hits
            where there are fewer than ten. A query with R < 10 relevant items scores R / 10 at
            most.
        average_precision: mean over the R relevant items of (rank among relevant / rank), over
            the complete ranking, as in the code of LCR (arXiv:2303.01669).
        map_at_r: precision summed at the relevant ranks among the first R, divided by R
            (Musgrave et al., arXiv:2003.08505).
        knn: for each k, 1.0 where the k nearest vote for the query's label, each with the weight
            exp(score / 0.1), else 0.0; all vote where there are fewer than k.
    """

    recall: dict[int, Vectors]
    precision_at_10: Vectors
    average_precision: Vectors
    map_at_r: Vectors
    knn: dict[int, Vectors]


def score_queries(
    queries: Vectors,
    query_labels: Labels,
    gallery: Vectors,
    gallery_labels: Labels,
    *,
    leave_one_out: bool = False,
    ks: tuple[int, ...] = (1, 5, 10),
    neighbours: tuple[int, ...] = (20, 200),
    chunk: int = 256,
) -> QueryScores:
    """Scores each query against the gallery.

    Scores that are equal to six digits, such as those of copies, rank in the order of the gallery;
    so the result depends neither on `chunk` nor on the last bits of a matrix product.

    Args:
        queries: (Q, D) unit vectors.
        query_labels: (Q,).
        gallery: (N, D) unit vectors.
        gallery_labels: (N,).
        leave_one_out: query i is gallery item i and is left out of its own ranking.
        ks: the k of recall@k.
        neighbours: the k of the kNN classifier. The code of LCR votes with 200, far more than a
            class of 30 images has, hence also 20.
        chunk: queries ranked at a time; memory is chunk x N.

    Example:
        >>> gallery = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> labels = np.array(["wren", "owl", "owl"])
        >>> scores = score_queries(gallery[:1], np.array(["owl"]), gallery, labels, ks=(1, 2))
        >>> {k: recall.tolist() for k, recall in scores.recall.items()}
        {1: [0.0], 2: [1.0]}
        >>> scores.precision_at_10.round(2).tolist()
        [0.67]
    """
    parts = []
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        scores = queries[rows] @ gallery.T
        if leave_one_out:
            scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        keys = -np.round(scores, TIE_DIGITS)
        order = np.argsort(keys, axis=1, kind="stable")[:, : -1 if leave_one_out else None]
        ranking = _Ranking(scores, order, query_labels[rows], gallery_labels)
        parts.append(ranking.scores(ks, neighbours))
    return _joined(parts)


@dataclass(frozen=True)
class _Ranking:
    """A chunk of queries ranked: scores (q, N), gallery rows by falling score (q, N), labels."""

    by_row: Vectors
    order: NDArray[np.intp]
    query_labels: Labels
    gallery_labels: Labels

    def scores(self, ks: tuple[int, ...], neighbours: tuple[int, ...]) -> QueryScores:
        relevant = self.gallery_labels[self.order] == self.query_labels[:, None]
        average_precision, map_at_r = precision_of_ranking(relevant)
        return QueryScores(
            recall={k: np.any(relevant[:, :k], axis=1) * 1.0 for k in ks},
            precision_at_10=relevant[:, :PAGE].mean(axis=1),
            average_precision=average_precision,
            map_at_r=map_at_r,
            knn={k: self._knn_correct(k) for k in neighbours},
        )

    def _knn_correct(self, k: int) -> Vectors:
        first = self.order[:, :k]
        scores = np.take_along_axis(self.by_row, first, axis=1)
        weights = np.exp((scores - scores[:, :1]) / 0.1)
        correct = np.empty(len(first))
        for row, (weight, labels) in enumerate(
            zip(weights, self.gallery_labels[first], strict=True)
        ):
            names, inverse = np.unique(labels, return_inverse=True)
            vote = names[np.bincount(inverse, weight).argmax()]
            correct[row] = vote == self.query_labels[row]
        return correct


def _joined(parts: Sequence[QueryScores]) -> QueryScores:
    return QueryScores(
        recall={k: np.concatenate([part.recall[k] for part in parts]) for k in parts[0].recall},
        precision_at_10=np.concatenate([part.precision_at_10 for part in parts]),
        average_precision=np.concatenate([part.average_precision for part in parts]),
        map_at_r=np.concatenate([part.map_at_r for part in parts]),
        knn={k: np.concatenate([part.knn[k] for part in parts]) for k in parts[0].knn},
    )


def precision_of_ranking(relevant: NDArray[np.bool_]) -> tuple[Vectors, Vectors]:
    """Average precision and MAP@R of each row of a ranking, (q, N) -> (q,), (q,)."""
    ranks = np.arange(1, relevant.shape[1] + 1)
    precision = np.cumsum(relevant, axis=1) / ranks * relevant
    count = relevant.sum(axis=1)
    among_first = ranks <= count[:, None]
    total = np.maximum(count, 1)
    return precision.sum(axis=1) / total, (precision * among_first).sum(axis=1) / total


def bootstrap_interval(values: Vectors, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean over queries.

    Args:
        values: (Q,).
        draws: bootstrap samples.
        seed: of the sampling.

    Example:
        >>> bootstrap_interval(np.array([1.0, 1.0, 0.0, 1.0]))
        (0.25, 1.0)
    """
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), size=draws)
    means = counts @ values / len(values)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def effective_rank(vectors: Vectors) -> float:
    """Exp of the entropy of the normalised singular values (RankMe, arXiv:2210.02885), 1..D.

    Unlike RankMe this centres the vectors first, so that a shared offset is no direction.

    Example:
        >>> round(effective_rank(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])), 6)
        2.0
        >>> round(effective_rank(np.array([[1.0, 0.0], [-1.0, 0.0]])), 6)
        1.0
    """
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    shares = values / max(values.sum(), 1e-12)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def alignment(first: Vectors, second: Vectors) -> float:
    """Mean squared distance of two views' unit vectors, in 0..4, lower is better.

    Wang and Isola, arXiv:2005.10242.

    Args:
        first: (N, D).
        second: (N, D), row by row of the same images.

    Example:
        >>> alignment(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
        2.0
    """
    return float(((first - second) ** 2).sum(axis=1).mean())


def uniformity(vectors: Vectors) -> float:
    """Log of the mean of exp(-2 x squared distance) over all pairs, <= 0, lower is better.

    Wang and Isola, arXiv:2005.10242, of unit vectors (N, D).

    Example:
        >>> round(uniformity(np.array([[1.0, 0.0], [0.0, 1.0]])), 6)
        -4.0
    """
    squared = np.maximum(2 - 2 * vectors @ vectors.T, 0)
    pairs = squared[np.triu_indices(len(vectors), k=1)]
    return float(np.log(np.exp(-2 * pairs).mean()))


def pointing_game(maps: Vectors, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each map's peak falls on its mask (Zhang et al., arXiv:1608.00507).

    Args:
        maps: (N, h, w) coarse maps; the peak is the centre of the largest cell.
        masks: (N, H, W).

    Example:
        >>> heat_map = np.array([[[0.1, 0.9], [0.2, 0.3]]])
        >>> mask = np.zeros((1, 4, 4), dtype=bool)
        >>> mask[0, :2, 2:] = True
        >>> pointing_game(heat_map, mask).tolist()
        [True]
    """
    count, height, width = maps.shape
    peak = maps.reshape(count, -1).argmax(axis=1)
    row = ((peak // width + 0.5) * masks.shape[1] / height).astype(int)
    column = ((peak % width + 0.5) * masks.shape[2] / width).astype(int)
    return np.asarray(masks[np.arange(count), row, column])
