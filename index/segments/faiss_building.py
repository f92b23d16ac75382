"""Builds a FAISS index: checks that a kind exists, trains on a sample, adds vectors in chunks."""

from typing import Any

import faiss
import numpy as np

from fgembed.embedding.array_types import Ids
from fgembed.errors import ConfigError
from fgembed.index.segments.faiss_index import Structure, innermost, inverted_file, reason
from fgembed.index.segments.faiss_memory import replace_quantizer, transforms_of
from fgembed.index.segments.hnsw_repair import reconnect
from fgembed.index.segments.kinds import KINDS, Size, factory_string, is_raw
from fgembed.index.segments.vector_file import VectorFile
from fgembed.progress import ReportCount, silent

KMEANS_ROUNDS = 6  # ten train no better lists in the same time
NO_SIZE = Size(count=0, dimensions=0, store="float32", trainable=0)


def build_structure(
    factory: str,
    rows: VectorFile,
    sample: Ids,
    report: ReportCount = silent,
) -> Structure:
    """A new FAISS index of the vectors, trained on those at the positions `sample`.

    `add_remaining` must follow before users search it. `report` takes the number of vectors added
    and their total.

    Raises:
        ConfigError: FAISS cannot build it, or cannot search it under a filter.
    """
    try:
        index = faiss.index_factory(rows.dimensions, factory, faiss.METRIC_INNER_PRODUCT)
        _reduce_training(index)
        if not index.is_trained:
            _check_sample(index, len(sample), factory)
            index.train(rows.take(np.sort(sample)))
        for start, vectors in rows.chunks():
            index.add(vectors)
            report(start + len(vectors), len(rows))
        _halve_centroids(index)
        structure = Structure(index, rows)
        all_rows = np.ones(len(rows), bool)
        structure.search(rows.take(np.zeros(1, np.int64)), 1, {}, all_rows)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise _cannot_build(factory, error) from None
    return structure


def check_kind(kind: str, dimensions: int) -> None:
    """Checks that FAISS can build a kind, before any work is done for it.

    Raises:
        ConfigError: FAISS does not know it, or not for vectors of so many dimensions.
    """
    if not is_raw(kind):
        return
    try:
        faiss.index_factory(dimensions, factory_string(kind, NO_SIZE), faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise _cannot_build(kind, error) from None


def add_remaining(structure: Structure, rows: VectorFile) -> Structure:
    """The structure of all `rows`, ready for searches; it has the first of them already."""
    for _, vectors in rows.chunks(np.arange(len(structure.rows), len(rows))):
        structure.faiss_index.add(vectors)
    graph = innermost(structure.faiss_index)
    if isinstance(graph, faiss.IndexHNSW):
        reconnect(graph)
    return Structure(structure.faiss_index, rows)


def _cannot_build(factory: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"FAISS cannot build {factory!r}: {reason(error)}",
        f"give --kind as one of {', '.join(KINDS)}, or as another FAISS factory string",
    )


def _reduce_training(index: Any) -> None:
    """The least training that suffices: candidates are scored by the vectors in any list."""
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        inner.cp.niter = KMEANS_ROUNDS
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False  # two seconds a code byte, for a filter of no use here
    for trained in (getattr(inner, "pq", None), inner):
        clustering = getattr(trained, "cp", None)
        if clustering is not None:
            clustering.min_points_per_centroid = 1


def _check_sample(index: Any, count: int, factory: str) -> None:
    """FAISS 1.15 corrupts memory where it trains an OPQ matrix on fewer vectors than dimensions."""
    index = faiss.downcast_index(index)
    if not isinstance(index, faiss.IndexPreTransform):
        return
    rotations = [step for step in transforms_of(index) if isinstance(step, faiss.OPQMatrix)]
    if any(count < rotation.d_in for rotation in rotations):
        raise ConfigError(
            f"{factory} needs {index.d} vectors for its training, the sample has {count}",
            "index more images, raise --memory, or give a --kind without OPQ",
        )


def _halve_centroids(index: Any) -> None:
    """Stores flat centroids as float16: reading them is half of what a single query costs."""
    inverted = inverted_file(index)
    if inverted is None or not isinstance(
        faiss.downcast_index(inverted.quantizer), faiss.IndexFlat
    ):
        return
    exact = faiss.downcast_index(inverted.quantizer)
    centroids = exact.reconstruct_n(0, exact.ntotal)
    half = faiss.IndexScalarQuantizer(
        exact.d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    half.train(centroids)
    half.add(centroids)
    replace_quantizer(inverted, half)
