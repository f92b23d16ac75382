"""Search parameters found by measurement: recall against exact search, and time, on queries."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import faiss
import numpy as np

from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.index.format.manifest import Measured
from fgembed.index.segments.faiss_index import Parameters, Structure

K = 10
K_FACTORS = (1, 2, 4, 8, 16, 32, 64)
FINE = 64  # from so many lists on, a step in between costs less than it may save
EF_SEARCH = (16, 32, 64, 128, 256, 512, 1024)  # efSearch of a graph
TIMED_QUERIES = 100
GAIN = 0.001  # less than this twice from one setting to the next: it rises no more
TOO_SLOW = 3  # times the fastest setting that reaches the recall: no need to look on
EQUAL = 1e-5  # scores that differ by less are the same

Search = Callable[[Vectors, int, Parameters], Vectors]


@dataclass(frozen=True)
class Point:
    """One setting, measured.

    Attributes:
        parameters: of the search.
        recall_at_10: of exact search, over all queries.
        doubt: its standard error.
        batch_query_ms: mean of a batch on one thread.
    """

    parameters: Parameters
    recall_at_10: float
    standard_error: float
    batch_query_ms: float


@dataclass(frozen=True)
class Tuned:
    """The fastest setting that reaches the recall, else the one with the highest recall."""

    parameters: Parameters
    measured: Measured
    points: list[Point]


def tune(
    structure: Structure, search: Search, queries: Vectors, exact: Vectors, recall_target: float
) -> Tuned:
    """Tries settings on one half of the queries, and measures the best on the other.

    Args:
        structure: whose parameters they are.
        search: gives scores (Q, 10) for queries, k and parameters; -inf where there are fewer.
        queries: (Q, D), in no structure, or left out of their own results.
        exact: (Q, 10) scores that exact search gives.
        recall_target: recall@10 that the mean must exceed by its standard error.
    """
    halves = np.arange(len(queries)) % 2 == 0
    tried, held = (halves, ~halves) if len(queries) > 1 else (halves, halves)
    points = [*_points(structure, search, queries[tried], exact[tried], recall_target)]
    good = [point for point in points if point.recall_at_10 - point.standard_error >= recall_target]
    if good:
        best = min(good, key=lambda point: point.batch_query_ms)
    else:
        best = max(points, key=lambda point: (point.recall_at_10, -point.batch_query_ms))
    parameters = best.parameters
    recalls = recall(search(queries[held], K, parameters), exact[held])
    single = one_by_one(search, queries[held], parameters)
    measured = Measured(int(held.sum()), float(recalls.mean()), single)
    return Tuned(parameters, measured, points)


def recall(found: Vectors, exact: Vectors) -> Vectors:
    """Of each query the share of its neighbours (Q, k) that were found, by their scores.

    A vector that is as near as the last of the neighbours is as good as it, so copies of one
    picture do not count as missed.
    """
    there = np.isfinite(exact).sum(axis=1)
    last = np.take_along_axis(exact, np.maximum(there - 1, 0)[:, None], axis=1)
    near = ((found >= last - EQUAL) & np.isfinite(found)).sum(axis=1)
    shares: Vectors = np.where(there == 0, 1.0, np.minimum(near, there) / np.maximum(there, 1))
    return shares


def one_by_one(search: Search, queries: Vectors, parameters: Parameters) -> float:
    """Median milliseconds of a query alone, on one thread."""
    faiss.omp_set_num_threads(1)
    times = []
    for query in queries[:TIMED_QUERIES]:
        started = time.perf_counter()
        search(query[None], K, parameters)
        times.append(time.perf_counter() - started)
    faiss.omp_set_num_threads(core_count())
    return 1000 * float(np.median(times))


def _points(
    structure: Structure, search: Search, queries: Vectors, exact: Vectors, recall_target: float
) -> Iterator[Point]:
    fastest = np.inf
    faiss.omp_set_num_threads(1)
    try:
        for row in _grid(structure):
            before, stalled = -1.0, 0
            for parameters in row:
                point = _measure(search, queries, exact, parameters)
                yield point
                if point.recall_at_10 - point.standard_error >= recall_target:
                    fastest = min(fastest, point.batch_query_ms)
                    break
                stalled = stalled + 1 if point.recall_at_10 < before + GAIN else 0
                if point.batch_query_ms > TOO_SLOW * fastest or stalled == 2:
                    break
                before = point.recall_at_10
    finally:
        faiss.omp_set_num_threads(core_count())


def _measure(search: Search, queries: Vectors, exact: Vectors, parameters: Parameters) -> Point:
    started = time.perf_counter()
    found = search(queries, K, parameters)
    spent = 1000 * (time.perf_counter() - started) / len(queries)
    recalls = recall(found, exact)
    standard_error = float(recalls.std() / len(recalls) ** 0.5)
    return Point(parameters, float(recalls.mean()), standard_error, spent)


def _grid(structure: Structure) -> list[list[Parameters]]:
    """Rows of settings; in each, recall and time rise from one to the next."""
    reach: list[Parameters] = [{}]
    if structure.lists is not None:
        powers = [1 << i for i in range(structure.lists.bit_length())]
        between = [3 * power // 2 for power in powers if power >= FINE]
        steps = sorted(step for step in [*powers, *between] if step < structure.lists)
        reach = [{"nprobe": nprobe} for nprobe in [*steps, structure.lists]]
    elif structure.is_graph:
        reach = [{"efSearch": width} for width in EF_SEARCH]
    if not structure.compresses:
        return [reach]
    return [[one | {"k_factor": factor} for one in reach] for factor in K_FACTORS]
