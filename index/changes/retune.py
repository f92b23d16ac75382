"""Tunes the search of an index that is there, on its own vectors or on given queries."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import FgembedError
from fgembed.index.format.manifest import Manifest, Segment
from fgembed.index.format.publishing import only_writer, publish
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.segments.faiss_index import Parameters
from fgembed.index.segments.segment import OpenSegment
from fgembed.index.segments.tuning import K, TuningResult, tune

QUERIES = 1000


@dataclass(frozen=True)
class Retuned:
    """The index as it is now, and each of its tuned segments with the settings tried."""

    manifest: Manifest
    tuned: list[tuple[Segment, TuningResult]]


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
        recall_target = manifest.recall if recall is None else recall
        tuned, segments = [], []
        for segment in vectors.segments:
            entry = segment.entry
            if segment.structure is not None and segment.any_live:
                found = _tuned(segment, recall_target, queries)
                entry = replace(entry, parameters=found.parameters, measured=found.measured)
                tuned.append((entry, found))
            segments.append(entry)
        manifest = replace(manifest, segments=segments, recall=recall_target)
        return Retuned(publish(folder, manifest), tuned)


def _tuned(segment: OpenSegment, recall_target: float, given: Vectors | None) -> TuningResult:
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
    return tune(structure, search, queries, exact, recall_target)


def _without(scores: Vectors, positions: Ids, own: list[int], k: int) -> Vectors:
    """The first k scores (Q, k) of each row without that of the query's own position."""
    left = np.where(positions == np.array(own)[:, None], -np.inf, scores)
    first: Vectors = -np.sort(-left, axis=1)[:, :k]
    return first
