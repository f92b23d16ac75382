"""Search parameters chosen by measurement: recall against exact search, and time, on queries."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fgembed.embedding.array_types import Vectors
from fgembed.index.format.manifest import Measured
from fgembed.index.segments.faiss_index import Parameters, Structure
from fgembed.index.segments.faiss_memory import faiss_threads

K = 10
K_FACTORS = (1, 2, 4, 8, 16, 32, 64)
FINE_LISTS = 64  # from so many lists on, a step in between costs less than it may save
EF_SEARCH = (16, 32, 64, 128, 256, 512, 1024)  # efSearch of a graph
TIMED_QUERIES = 100
MIN_GAIN = 0.001  # of recall; less than this twice in a row ends a row of settings
MAX_SLOWDOWN = 3  # times the fastest setting that reaches the recall; slower ones end a row
EQUAL = 1e-5  # scores that differ by less are the same

Search = Callable[[Vectors, int, Parameters], Vectors]
Clock = Callable[[], float]  # seconds


@dataclass(frozen=True)
class TuningPoint:
    """A setting, measured on the queries that it is chosen by.

    Attributes:
        parameters: of the search.
        recall_at_10: of exact search, mean over the queries.
        standard_error: of `recall_at_10`.
        batch_query_ms: mean time of a query when all are searched as one batch, on one thread.
            `Measured.query_ms` of the manifest is the time of a query that is searched alone.
    """

    parameters: Parameters
    recall_at_10: float
    standard_error: float
    batch_query_ms: float


@dataclass(frozen=True)
class TuningResult:
    """The fastest setting that reaches the recall, else the one with the highest recall.

    Attributes:
        parameters: of the setting.
        measured: recall and time of a single query, on queries that played no part in the choice.
        points: every setting that was tried.
    """

    parameters: Parameters
    measured: Measured
    points: list[TuningPoint]


def tune(
    structure: Structure,
    search: Search,
    queries: Vectors,
    exact: Vectors,
    recall_target: float,
    clock: Clock = time.perf_counter,
) -> TuningResult:
    """Chooses a setting on one half of the queries and measures it on the other.

    Args:
        structure: whose parameters they are.
        search: gives scores (Q, 10) for queries, k and parameters; -inf where there are fewer.
        queries: (Q, D), not in the structure, or left out of their own results.
        exact: scores (Q, 10) of exact search.
        recall_target: recall@10 that the mean must exceed by its standard error.
        clock: seconds, for the time of a search.
    """
    even = np.arange(len(queries)) % 2 == 0
    tried, held_out = (even, ~even) if len(queries) > 1 else (even, even)
    with faiss_threads(1):
        points = [*_points(structure, search, queries[tried], exact[tried], recall_target, clock)]
    parameters = _best(points, recall_target).parameters
    recalls = recall(search(queries[held_out], K, parameters), exact[held_out])
    measured = Measured(
        queries=int(held_out.sum()),
        recall_at_10=float(recalls.mean()),
        query_ms=single_query_ms(search, queries[held_out], parameters, clock),
    )
    return TuningResult(parameters, measured, points)


def recall(scores: Vectors, exact: Vectors) -> Vectors:
    """The share of each query's exact neighbours that a search returned, (Q,), by their scores.

    A vector that is as near as the last of the neighbours is as good as it, so copies of one
    image do not count as missed.

    Args:
        scores: (Q, k) of the search, -inf where it returned fewer.
        exact: (Q, k) of exact search, by falling score, -inf where fewer exist.

    Example:
        >>> recall(np.array([[0.9, 0.7]]), np.array([[0.9, 0.8]])).tolist()
        [0.5]
    """
    neighbours = np.isfinite(exact).sum(axis=1)
    last = np.take_along_axis(exact, np.maximum(neighbours - 1, 0)[:, None], axis=1)
    matches = ((scores >= last - EQUAL) & np.isfinite(scores)).sum(axis=1)
    shares: Vectors = np.where(
        neighbours == 0, 1.0, np.minimum(matches, neighbours) / np.maximum(neighbours, 1)
    )
    return shares


def single_query_ms(
    search: Search, queries: Vectors, parameters: Parameters, clock: Clock = time.perf_counter
) -> float:
    """Median milliseconds of a query that is searched alone, on one thread."""
    seconds = []
    with faiss_threads(1):
        for query in queries[:TIMED_QUERIES]:
            start = clock()
            search(query[None], K, parameters)
            seconds.append(clock() - start)
    return 1000 * float(np.median(seconds))


def _points(
    structure: Structure,
    search: Search,
    queries: Vectors,
    exact: Vectors,
    recall_target: float,
    clock: Clock,
) -> Iterator[TuningPoint]:
    """Every setting of the grid that is worth a try, measured."""
    fastest = np.inf
    for row in _grid(structure):
        before, stalled = -1.0, 0
        for parameters in row:
            point = _measure(search, queries, exact, parameters, clock)
            yield point
            if _reaches(point, recall_target):
                fastest = min(fastest, point.batch_query_ms)
                break
            stalled = stalled + 1 if point.recall_at_10 < before + MIN_GAIN else 0
            if point.batch_query_ms > MAX_SLOWDOWN * fastest or stalled == 2:
                break
            before = point.recall_at_10


def _measure(
    search: Search, queries: Vectors, exact: Vectors, parameters: Parameters, clock: Clock
) -> TuningPoint:
    start = clock()
    scores = search(queries, K, parameters)
    batch_query_ms = 1000 * (clock() - start) / len(queries)
    recalls = recall(scores, exact)
    standard_error = float(recalls.std() / len(recalls) ** 0.5)
    return TuningPoint(parameters, float(recalls.mean()), standard_error, batch_query_ms)


def _reaches(point: TuningPoint, recall_target: float) -> bool:
    return point.recall_at_10 - point.standard_error >= recall_target


def _best(points: list[TuningPoint], recall_target: float) -> TuningPoint:
    """The fastest point that reaches the recall, else the one with the highest recall."""
    candidates = [point for point in points if _reaches(point, recall_target)]
    if candidates:
        return min(candidates, key=lambda point: point.batch_query_ms)
    return max(points, key=lambda point: (point.recall_at_10, -point.batch_query_ms))


def _grid(structure: Structure) -> list[list[Parameters]]:
    """Rows of settings; in each, recall and time rise from one setting to the next."""
    widths: list[Parameters] = [{}]
    if structure.lists is not None:
        powers = [1 << i for i in range(structure.lists.bit_length())]
        between = [3 * power // 2 for power in powers if power >= FINE_LISTS]
        steps = sorted(step for step in [*powers, *between] if step < structure.lists)
        widths = [{"nprobe": nprobe} for nprobe in [*steps, structure.lists]]
    elif structure.is_graph:
        widths = [{"efSearch": width} for width in EF_SEARCH]
    if not structure.compresses:
        return [widths]
    return [[setting | {"k_factor": factor} for setting in widths] for factor in K_FACTORS]
