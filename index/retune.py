"""Tunes the search of an index that is there, on its own vectors or on given queries."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fgembed.errors import FgembedError, MissingExtraError
from fgembed.files import atomic_write
from fgembed.index.manifest import Manifest, Segment
from fgembed.index.opening import open_vectors
from fgembed.index.segment import OpenSegment
from fgembed.index.structure import Parameters
from fgembed.index.tuning import K, Tuned, tune
from fgembed.index.writing import only_writer, publish
from fgembed.metrics import Ids, Vectors

QUERIES = 1000


@dataclass(frozen=True)
class Retuned:
    """The index as it is now, and each of its tuned segments with the settings tried."""

    manifest: Manifest
    tuned: list[tuple[Segment, Tuned]]


def retune(folder: Path, recall: float | None = None, queries: Vectors | None = None) -> Retuned:
    """Finds search parameters anew and publishes them; no file of vectors is written.

    Args:
        folder: the index.
        recall: recall@10 to reach; what the index was built for if None.
        queries: unit vectors (Q, D) that searches will be like; some of the index's own, each
            left out of its own results, if None.

    Raises:
        FgembedError: queries have another dimension, or another process is writing the index.
    """
    with only_writer(folder):
        vectors = open_vectors(folder)
        manifest = vectors.manifest
        if queries is not None and queries.shape[1:] != (manifest.dimensions,):
            raise FgembedError(
                f"queries of shape {queries.shape} for an index of {manifest.dimensions} dimensions"
            )
        goal = manifest.recall if recall is None else recall
        tuned, segments = [], []
        for segment in vectors.segments:
            entry = segment.entry
            if segment.structure is not None and segment.any_live:
                found = _tuned(segment, goal, queries)
                entry = replace(entry, parameters=found.parameters, measured=found.measured)
                tuned.append((entry, found))
            segments.append(entry)
        manifest = replace(manifest, segments=segments, recall=goal)
        return Retuned(publish(folder, manifest), tuned)


def _tuned(segment: OpenSegment, goal: float, given: Vectors | None) -> Tuned:
    structure, rows = segment.structure, segment.rows
    assert structure is not None
    if given is not None:
        queries, own = given[:QUERIES], np.full(min(QUERIES, len(given)), -1)
    else:
        live = np.arange(len(rows)) if segment.live is None else np.flatnonzero(segment.live)
        own = np.random.default_rng(0).choice(live, min(QUERIES, len(live)), replace=False)
        queries = rows.take(own)
    # Of equal vectors one stands for all of them, in both searches.
    places = {query.tobytes(): place for query, place in zip(queries, own.tolist(), strict=True)}
    own = np.array([places[query.tobytes()] for query in queries])

    def search(some: Vectors, k: int, parameters: Parameters) -> Vectors:
        wanted = min(k + 1, len(rows))
        scores, positions = structure.search(some, wanted, parameters, segment.live)
        return _without(scores, positions, [places[query.tobytes()] for query in some], k)

    allowed = None if segment.live is None else np.flatnonzero(segment.live)
    exact = _without(*rows.exact(queries, K + 1, allowed), own.tolist(), K)
    return tune(structure, search, queries, exact, goal)


def _without(scores: Vectors, positions: Ids, own: list[int], k: int) -> Vectors:
    """The first k scores (Q, k) of each row without that of the query's own position."""
    left = np.where(positions == np.array(own)[:, None], -np.inf, scores)
    first: Vectors = -np.sort(-left, axis=1)[:, :k]
    return first


def check_plot(out: Path) -> None:
    """Refuses a file that no plot is written into, before any work is done for it.

    Raises:
        FgembedError: it ends otherwise than .png or .svg.
    """
    if out.suffix not in (".png", ".svg"):
        raise FgembedError(f"{out} is neither .png nor .svg")


def plot(out: Path, retuned: Retuned) -> None:
    """Draws recall@10 against milliseconds a query, of every setting tried.

    Raises:
        MissingExtraError: matplotlib is not installed.
        FgembedError: nothing was tuned, or `out` is neither .png nor .svg.
    """
    check_plot(out)
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtraError("a plot", "matplotlib", "train") from None
    if not retuned.tuned:
        raise FgembedError("every vector is compared, so there is nothing to draw")
    segment, tuned = max(retuned.tuned, key=lambda pair: pair[0].count)
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    factors = sorted({point.parameters.get("k_factor", 1) for point in tuned.points})
    for factor in factors:
        points = [p for p in tuned.points if p.parameters.get("k_factor", 1) == factor]
        points.sort(key=lambda point: point.query_ms)
        axes.plot(
            [p.recall_at_10 for p in points], [p.query_ms for p in points],
            marker="o", label=f"k_factor {factor}",
        )  # fmt: skip
    axes.axvline(retuned.manifest.recall, color="grey", linestyle=":", label="recall asked for")
    chosen = next(point for point in tuned.points if point.parameters == tuned.parameters)
    axes.scatter(
        [chosen.recall_at_10], [chosen.query_ms], s=160, facecolors="none", edgecolors="black",
        label="taken", zorder=3,
    )  # fmt: skip
    axes.set(xlabel="recall@10 of exact search", ylabel="ms a query, one thread", yscale="log")
    axes.set_title(f"{segment.factory}, {segment.count} vectors")
    axes.legend(fontsize="small")
    with atomic_write(out) as file:
        figure.savefig(file, format="svg" if out.suffix == ".svg" else "png", dpi=150)
    pyplot.close(figure)
