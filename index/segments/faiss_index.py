"""What finds candidates among a segment's rows: a FAISS index of any kind, or none at all.

Its numbers are positions of rows. It proposes `k_factor` times as many as are asked for, and those
are scored by the rows themselves (FAISS's refinement), so that every kind gives exact cosines.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from fgembed.disk.files import sync
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import IntegrityError
from fgembed.index.segments.vector_file import VectorFile

Mask = NDArray[np.bool_]  # of a segment's positions, (N,)
Parameters = dict[str, int]
BATCH = 20  # queries from which FAISS takes matrix products
SKIP_STORAGE = faiss.IO_FLAG_SKIP_STORAGE


@dataclass(frozen=True)
class Structure:
    """A FAISS index over positions, and the rows that it was made of.

    Attributes:
        base: the index that proposes candidates.
        rows: the vectors.
    """

    base: Any
    rows: VectorFile

    @property
    def lists(self) -> int | None:
        """How many lists it visits at most, None for what has no lists."""
        inverted = inverted_file(self.base)
        return None if inverted is None else int(inverted.nlist)

    @cached_property
    def centroids(self) -> Vectors:
        """Those of the lists, (lists, D)."""
        quantizer = faiss.downcast_index(inverted_file(self.base).quantizer)
        centroids: Vectors = quantizer.reconstruct_n(0, quantizer.ntotal)
        return centroids

    @property
    def compresses(self) -> bool:
        """Whether its own scores are not those of the vectors."""
        if isinstance(self.base, faiss.IndexPreTransform):
            return True
        codes = innermost(self.base)
        codes = faiss.downcast_index(codes.storage) if self.is_graph else codes
        if isinstance(codes, faiss.IndexFlat | faiss.IndexIVFFlat):
            return False
        quantizer = getattr(codes, "sq", None)
        return quantizer is None or quantizer.qtype != faiss.ScalarQuantizer.QT_fp16

    @cached_property
    def has_exact_lists(self) -> bool:
        """Whether a query's nearest lists are found by comparing all centroids."""
        inverted = inverted_file(self.base)
        if inverted is None:
            return False
        quantizer = faiss.downcast_index(inverted.quantizer)
        return isinstance(quantizer, faiss.IndexFlat | faiss.IndexScalarQuantizer)

    @property
    def is_graph(self) -> bool:
        """Whether its search walks a graph."""
        return isinstance(innermost(self.base), faiss.IndexHNSW)

    def search(
        self, queries: Vectors, k: int, parameters: Parameters, allowed: Mask | None = None
    ) -> tuple[Vectors, Ids]:
        """Scores and positions, (Q, k) each, by falling score; -1 where fewer were found."""
        factor = min(parameters.get("k_factor", 1), -(-len(self.rows) // k))
        selector = None if allowed is None else bitmap(allowed)
        if len(queries) >= BATCH and self.has_exact_lists:
            return self._search_batch(queries, k, k * factor, parameters, selector)
        chosen = _parameters(self.base, parameters, k * factor, selector)
        refined = faiss.IndexRefine(self.base, self.rows.flat)
        both = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=chosen)
        scores, positions = refined.search(queries, k, params=both)
        return np.where(positions < 0, -np.inf, scores).astype(np.float32), positions

    def _search_batch(
        self, queries: Vectors, k: int, candidates: int, parameters: Parameters, selector: Any
    ) -> tuple[Vectors, Ids]:
        """As `search`, with the nearest lists found for all queries at once.

        FAISS finds them in each thread on its own, where the threads' matrix products wait for one
        another: on two cores that takes two to six times as long (measured with 4,096 and 16,384
        lists, FAISS 1.15).
        """
        inner, changed = self.base, queries
        while isinstance(inner, faiss.IndexPreTransform):
            for step in range(inner.chain.size()):
                changed = faiss.downcast_VectorTransform(inner.chain.at(step)).apply(changed)
            inner = faiss.downcast_index(inner.index)
        chosen = _parameters(inner, parameters, candidates, selector)
        metric = faiss.METRIC_INNER_PRODUCT
        cosines, lists = faiss.knn(changed, self.centroids, chosen.nprobe, metric)
        scores = np.empty((len(queries), candidates), np.float32)
        positions = np.empty((len(queries), candidates), np.int64)
        inner.search_preassigned_c(
            len(queries), *map(faiss.swig_ptr, (changed,)), candidates,
            *map(faiss.swig_ptr, (lists, cosines, scores, positions)), False, chosen,
        )  # fmt: skip
        return self.rows.best_of(queries, positions, k)

    def write(self, file: Path) -> None:
        """Writes the FAISS index; a graph without the vectors, which are the rows.

        Raises:
            OSError: it cannot be written, as on a full disk.
        """
        # Through a file of our own: FAISS's own does not notice that its last block is not written.
        try:
            with file.open("wb") as stream:
                writer = faiss.PyCallbackIOWriter(stream.write)
                faiss.write_index(self.base, writer, SKIP_STORAGE if self.is_graph else 0)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None
        sync(file)


def bitmap(allowed: Mask) -> Any:
    """A selector of the positions (N,) that are allowed."""
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def innermost(index: Any) -> Any:
    """The index behind its transforms."""
    index = faiss.downcast_index(index)
    return innermost(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def inverted_file(index: Any) -> Any:
    """The inverted file within an index, or None."""
    inner = innermost(index)
    return inner if isinstance(inner, faiss.IndexIVF) else None


def reason(error: BaseException) -> str:
    """What FAISS says, without where in its sources."""
    text = str(error).replace("\n", " ")
    return text.partition("Error: ")[2] or text


def _parameters(index: Any, parameters: Parameters, k: int, selector: Any) -> Any:
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _parameters(index.index, parameters, k, selector)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        nprobe = min(parameters.get("nprobe", index.nlist), index.nlist)
        return faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
    if isinstance(index, faiss.IndexHNSW):
        width = max(parameters.get("efSearch", 64), k)
        return faiss.SearchParametersHNSW(sel=selector, efSearch=width)
    return faiss.SearchParameters(sel=selector)


SLACK = 4  # times a file's size that FAISS may allocate while reading it


LEAST = 1 << 26  # bytes that it may anyhow: of a transform it allows for a matrix, stored or not


def read_structure(file: Path, rows: VectorFile) -> Structure:
    """The index in a file, whose checksum must have been proved before.

    FAISS may allocate no more than 64 MB or a few times the file's size, whatever the file says.

    Raises:
        IntegrityError: the file is not an index of these rows.
    """
    try:
        with bounded(file):
            base = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC | SKIP_STORAGE)
    except (RuntimeError, MemoryError) as error:
        raise IntegrityError(f"FAISS cannot read {file}: {reason(error)}") from None
    if base.d != rows.dimensions or base.ntotal != len(rows):
        raise IntegrityError(
            f"{file} holds {base.ntotal} vectors of {base.d}, "
            f"the segment has {len(rows)} of {rows.dimensions}"
        )
    if base.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise IntegrityError(f"{file} does not compare by inner product")
    graph = innermost(base)
    if isinstance(graph, faiss.IndexHNSW) and graph.storage is None:
        graph.storage = rows.flat
        graph.own_fields = False
    return Structure(base, rows)


@contextmanager
def bounded(file: Path) -> Iterator[None]:
    """Within the block FAISS refuses to allocate for a file far more than it can hold."""
    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    limit = max(LEAST, SLACK * file.stat().st_size)
    faiss.set_deserialization_vector_byte_limit(limit)
    faiss.set_deserialization_loop_limit(limit)
    try:
        yield
    finally:
        faiss.set_deserialization_vector_byte_limit(before[0])
        faiss.set_deserialization_loop_limit(before[1])
