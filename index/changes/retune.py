"""Tunes the search parameters of an index again, on its own vectors or on imported queries."""

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
    """The index after tuning, and what was measured.

    Attributes:
        manifest: of the index with its new parameters.
        tuned: each tuned segment with all settings that were tried. A segment of exact search has
            no parameters and is not among them.
    """

    manifest: Manifest
    tuned: list[tuple[Segment, TuningResult]]


def retune(folder: Path, recall: float | None = None, queries: Vectors | None = None) -> Retuned:
    """Tunes the search parameters again and publishes them; no file of vectors is written.

    Half of the queries choose the parameters, the other half measures them.

    Args:
        folder: the index.
        recall: recall@10 to reach, in (0, 1]; None takes the one that the index was built for.
        queries: unit vectors (Q, D) like those of later searches, of which the first 1,000 are
            used; None samples the index itself and leaves each query out of its own results.

    Raises:
        NotFoundError: there is no index.
        FgembedError: the queries have another dimension, or another process is writing the index.
    """
    with only_writer(folder):
        vectors = open_vectors(folder)
        manifest = vectors.manifest
        if queries is not None and queries.shape[1:] != (manifest.dimensions,):
            raise FgembedError(
                f"queries of shape {queries.shape} do not fit an index of {manifest.dimensions} "
                "dimensions",
                f"give vectors (Q, {manifest.dimensions}) of the model that made the index",
            )
        recall_target = manifest.recall if recall is None else recall
        tuned, segments = [], []
        for segment in vectors.segments:
            entry = segment.entry
            if segment.structure is not None and segment.any_live:
                result = _tune_segment(segment, recall_target, queries)
                entry = replace(entry, parameters=result.parameters, measured=result.measured)
                tuned.append((entry, result))
            segments.append(entry)
        manifest = replace(manifest, segments=segments, recall=recall_target)
        return Retuned(publish(folder, manifest), tuned)


def _tune_segment(
    segment: OpenSegment, recall_target: float, queries: Vectors | None
) -> TuningResult:
    structure, rows = segment.structure, segment.rows
    assert structure is not None
    if queries is not None:
        # -1: an imported query has no position in the segment.
        queries, excluded = queries[:QUERIES], np.full(min(QUERIES, len(queries)), -1)
    else:
        live = np.arange(len(rows)) if segment.live is None else np.flatnonzero(segment.live)
        excluded = np.random.default_rng(0).choice(live, min(QUERIES, len(live)), replace=False)
        queries = rows.take(excluded)
    # Equal queries leave the same position out, in the search and in its reference.
    position_of = {q.tobytes(): n for q, n in zip(queries, excluded.tolist(), strict=True)}
    excluded = np.array([position_of[query.tobytes()] for query in queries])

    def search(batch: Vectors, k: int, parameters: Parameters) -> Vectors:
        count = min(k + 1, len(rows))
        scores, positions = structure.search(batch, count, parameters, segment.live)
        return _without(scores, positions, [position_of[query.tobytes()] for query in batch], k)

    allowed = None if segment.live is None else np.flatnonzero(segment.live)
    exact = _without(*rows.exact(queries, K + 1, allowed), excluded.tolist(), K)
    return tune(structure, search, queries, exact, recall_target)


def _without(scores: Vectors, positions: Ids, excluded: list[int], k: int) -> Vectors:
    """The k highest scores (Q, k) of each query, not counting its excluded position."""
    remaining = np.where(positions == np.array(excluded)[:, None], -np.inf, scores)
    highest: Vectors = -np.sort(-remaining, axis=1)[:, :k]
    return highest
