"""A new structure: which kinds can be had, training on a sample, adding some at a time."""

from typing import Any

import faiss
import numpy as np

from fgembed.embedding.array_types import Ids
from fgembed.errors import ConfigError
from fgembed.index.segments.faiss_index import Structure, innermost, inverted_file, reason
from fgembed.index.segments.hnsw_repair import reconnect
from fgembed.index.segments.kinds import Size, factory_string, is_raw
from fgembed.index.segments.vector_file import VectorFile
from fgembed.progress import ReportCount, silent

ROUNDS = 6  # of k-means; ten train no better lists in the same time
NO_SIZE = Size(0, 0, "float32", 0)


def build_structure(
    factory: str,
    rows: VectorFile,
    sample: Ids,
    report: ReportCount = silent,
) -> Structure:
    """A new index of the rows, trained on those at the positions `sample`.

    Vectors are added some at a time; `grown` must follow. `report` takes how many are in, of how
    many.

    Raises:
        ConfigError: FAISS cannot build it, or cannot search it under a filter.
    """
    try:
        base = faiss.index_factory(rows.dimensions, factory, faiss.METRIC_INNER_PRODUCT)
        _prepare(base)
        if not base.is_trained:
            _check_sample(base, len(sample), factory)
            base.train(rows.take(np.sort(sample)))
        for start, vectors in rows.chunks():
            base.add(vectors)
            report(start + len(vectors), len(rows))
        _halve_centroids(base)
        built = Structure(base, rows)
        everything = np.ones(len(rows), bool)
        built.search(rows.take(np.zeros(1, np.int64)), 1, {}, everything)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(f"FAISS cannot build {factory!r}: {reason(error)}") from None
    return built


def check_kind(kind: str, dimensions: int) -> None:
    """Whether a kind can be had, before any work is done for it.

    Raises:
        ConfigError: FAISS does not know it, or not for so many dimensions.
    """
    if not is_raw(kind):
        return
    try:
        faiss.index_factory(dimensions, factory_string(kind, NO_SIZE), faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(f"FAISS cannot build {kind!r}: {reason(error)}") from None


def grown(structure: Structure, rows: VectorFile) -> Structure:
    """The structure with the rest of `rows`, of which it has the first, ready to be searched."""
    for _, vectors in rows.chunks(np.arange(len(structure.rows), len(rows))):
        structure.base.add(vectors)
    graph = innermost(structure.base)
    if isinstance(graph, faiss.IndexHNSW):
        reconnect(graph)
    return Structure(structure.base, rows)


def _prepare(index: Any) -> None:
    """The least training that will do: candidates are scored anew wherever they lie."""
    inner = innermost(index)
    if isinstance(inner, faiss.IndexIVF):
        inner.cp.niter = ROUNDS
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False  # two seconds a code byte, for a filter of no use here
    for place in (getattr(inner, "pq", None), inner):
        clustering = getattr(place, "cp", None)
        if clustering is not None:
            clustering.min_points_per_centroid = 1


def _check_sample(index: Any, count: int, factory: str) -> None:
    """FAISS 1.15 corrupts memory where it trains an OPQ matrix on fewer vectors than dimensions."""
    index = faiss.downcast_index(index)
    if not isinstance(index, faiss.IndexPreTransform):
        return
    chain = [faiss.downcast_VectorTransform(index.chain.at(n)) for n in range(index.chain.size())]
    if any(isinstance(one, faiss.OPQMatrix) and count < one.d_in for one in chain):
        raise ConfigError(f"{factory} is trained on {index.d} vectors at least, {count} are there")


def _halve_centroids(index: Any) -> None:
    """Keeps flat centroids as float16: reading them is half of what a single query costs."""
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
    inverted.quantizer = half
    half.this.disown()
    inverted.own_fields = True
