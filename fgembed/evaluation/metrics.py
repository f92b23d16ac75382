"""Retrieval metrics over vectors (numpy): every definition once, each query scored apart.

All scores are inner products of unit vectors, so higher is nearer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fgembed.embedding.array_types import Labels, Vectors


@dataclass(frozen=True)
class QueryScores:
    """One value a query, (Q,) each.

    Attributes:
        recall: for each k, 1.0 where any of the first k hits has the query's label.
        average_precision: mean over the R relevant items of (rank among relevant / rank),
            over the complete ranking, as the LCR code has it.
        map_at_r: precision summed at the relevant ranks among the first R, over R
            (Musgrave et al., arXiv:2003.08505).
        knn: for each k, 1.0 where the vote of the k nearest, weighted by exp(score / 0.1), is
            right (of all where there are fewer).
    """

    recall: dict[int, Vectors]
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

    Args:
        queries: (Q, D) unit vectors.
        query_labels: (Q,).
        gallery: (N, D) unit vectors.
        gallery_labels: (N,).
        leave_one_out: query i is gallery item i and is left out of its own ranking.
        ks: the k of recall@k.
        neighbours: the k of the kNN classifier; the LCR code votes with 200, far more than a
            class of 30 pictures has, hence also 20. With one it is recall@1.
        chunk: queries ranked at a time; memory is chunk x N.
    """
    parts = []
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        scores = queries[rows] @ gallery.T
        if leave_one_out:
            scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        if leave_one_out:
            order = order[:, :-1]
        relevant = gallery_labels[order] == query_labels[rows, None]
        votes = [
            _knn_correct(
                np.take_along_axis(scores, order[:, :k], axis=1),
                gallery_labels[order[:, :k]],
                query_labels[rows],
            )
            for k in neighbours
        ]
        parts.append((*precision_of_ranking(relevant), relevant[:, : max(ks)], *votes))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    precision, at_r, first, *votes = columns
    recall: dict[int, Vectors] = {k: np.any(first[:, :k], axis=1) * 1.0 for k in ks}
    return QueryScores(recall, precision, at_r, dict(zip(neighbours, votes, strict=True)))


def precision_of_ranking(relevant: NDArray[np.bool_]) -> tuple[Vectors, Vectors]:
    """Average precision and MAP@R of each row of a ranking, (q, N) -> (q,), (q,)."""
    ranks = np.arange(1, relevant.shape[1] + 1)
    precision = np.cumsum(relevant, axis=1) / ranks * relevant
    count = relevant.sum(axis=1)
    among_first = ranks <= count[:, None]
    total = np.maximum(count, 1)
    return precision.sum(axis=1) / total, (precision * among_first).sum(axis=1) / total


def _knn_correct(scores: Vectors, labels: Labels, truth: Labels) -> Vectors:
    weights = np.exp((scores - scores[:, :1]) / 0.1)
    correct = np.empty(len(truth))
    for row, (weight, label) in enumerate(zip(weights, labels, strict=True)):
        names, inverse = np.unique(label, return_inverse=True)
        correct[row] = names[np.bincount(inverse, weight).argmax()] == truth[row]
    return correct


def bootstrap_interval(values: Vectors, *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean over queries."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), size=draws)
    means = counts @ values / len(values)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def effective_rank(vectors: Vectors) -> float:
    """Exp of the entropy of the normalised singular values (RankMe, arXiv:2210.02885), 1..D.

    The vectors are centred first, so that a shared offset does not count as a direction.
    """
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    shares = values / max(values.sum(), 1e-12)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def alignment(first: Vectors, second: Vectors) -> float:
    """Mean squared distance of two views' unit vectors, 0..4, lower is better (2005.10242)."""
    return float(((first - second) ** 2).sum(axis=1).mean())


def uniformity(vectors: Vectors) -> float:
    """Log mean exp(-2 squared distance) over all pairs, <= 0, lower is better (2005.10242)."""
    squared = np.maximum(2 - 2 * vectors @ vectors.T, 0)
    pairs = squared[np.triu_indices(len(vectors), k=1)]
    return float(np.log(np.exp(-2 * pairs).mean()))


def pointing_game(maps: Vectors, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each map's peak falls on its mask (Zhang et al., arXiv:1608.00507).

    Args:
        maps: (N, h, w) coarse maps; the peak is the centre of the largest cell.
        masks: (N, H, W).
    """
    count, height, width = maps.shape
    peak = maps.reshape(count, -1).argmax(axis=1)
    row = ((peak // width + 0.5) * masks.shape[1] / height).astype(int)
    column = ((peak % width + 0.5) * masks.shape[2] / width).astype(int)
    return np.asarray(masks[np.arange(count), row, column])
