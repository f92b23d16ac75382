"""The candidate search of a segment: a FAISS index of any kind over the segment's vectors.

FAISS proposes `k_factor` times as many candidates as requested, and these are scored by the
vectors themselves (FAISS's refinement). So every kind gives exact cosines. Where more vectors than
FAISS proposed may have the last score, it proposes more, and in the end all vectors are compared.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from fgembed.disk.flushing import sync
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import IntegrityError
from fgembed.index.format.manifest import REBUILD
from fgembed.index.segments import faiss_memory
from fgembed.index.segments.faiss_memory import selector_of
from fgembed.index.segments.ordering import Results, is_cut, ranked, rounding, with_spare
from fgembed.index.segments.vector_file import VectorFile

Mask = NDArray[np.bool_]  # of a segment's positions, (N,)
Parameters = dict[str, int]
BATCH = 20  # queries from which FAISS takes matrix products
MANY = 4096  # candidates; where still more may be equal, all vectors are compared


@dataclass(frozen=True)
class Structure:
    """A FAISS index whose ids are positions in a vector file.

    Attributes:
        faiss_index: proposes candidates.
        rows: the vectors.
    """

    faiss_index: Any
    rows: VectorFile

    @property
    def lists(self) -> int | None:
        """The number of lists of an inverted file, else None."""
        inverted = inverted_file(self.faiss_index)
        return None if inverted is None else int(inverted.nlist)

    @cached_property
    def centroids(self) -> Vectors:
        """The centroids of an inverted file's lists, (lists, D)."""
        quantizer = faiss.downcast_index(inverted_file(self.faiss_index).quantizer)
        centroids: Vectors = quantizer.reconstruct_n(0, quantizer.ntotal)
        return centroids

    @cached_property
    def compresses(self) -> bool:
        """Whether FAISS's scores differ from those of the vectors."""
        if isinstance(self.faiss_index, faiss.IndexPreTransform):
            return True
        codes = innermost(self.faiss_index)
        codes = faiss.downcast_index(codes.storage) if self.is_graph else codes
        if isinstance(codes, faiss.IndexFlat | faiss.IndexIVFFlat):
            return False
        quantizer = getattr(codes, "sq", None)
        return quantizer is None or quantizer.qtype != faiss.ScalarQuantizer.QT_fp16

    @cached_property
    def has_exact_lists(self) -> bool:
        """Whether a query's nearest lists result from comparing all centroids."""
        inverted = inverted_file(self.faiss_index)
        if inverted is None:
            return False
        quantizer = faiss.downcast_index(inverted.quantizer)
        return isinstance(quantizer, faiss.IndexFlat | faiss.IndexScalarQuantizer)

    @property
    def is_graph(self) -> bool:
        """Whether a search walks an HNSW graph."""
        return isinstance(innermost(self.faiss_index), faiss.IndexHNSW)

    def search(
        self, queries: Vectors, k: int, parameters: Parameters, allowed: Mask | None = None
    ) -> tuple[Vectors, Ids]:
        """Searches the positions that are `allowed`, all if None.

        Returns:
            Scores and positions, (Q, k) each, by falling score, equal scores by rising id; score
            -inf and position -1 where FAISS proposed fewer than k candidates.
        """
        count = len(self.rows)
        width = min(with_spare(k), max(count, k))
        candidates = max(width, k * min(parameters.get("k_factor", 1), -(-count // k)))
        selector = None if allowed is None else selector_of(allowed)

        def propose(batch: Vectors) -> tuple[Results, NDArray[np.bool_]]:
            found = self._candidates(batch, width, candidates, parameters, selector)
            cut = is_cut(batch, found[0], k) & (found[1][:, -1] >= 0) & (width < count)
            return self.rows.ordered(batch, found[1], k), cut

        (scores, positions), is_open = propose(queries)
        open_rows = np.flatnonzero(is_open)
        while len(open_rows) and width < MANY:
            width, candidates = min(8 * width, count), min(8 * candidates, count)
            candidates = max(width, candidates)
            (scores[open_rows], positions[open_rows]), is_open = propose(queries[open_rows])
            open_rows = open_rows[is_open]
        if len(open_rows):
            results = scores[open_rows], positions[open_rows]
            scores[open_rows], positions[open_rows] = self._with_equal(
                queries[open_rows], results, k, allowed
            )
        return scores, positions

    def _candidates(
        self, queries: Vectors, k: int, candidates: int, parameters: Parameters, selector: Any
    ) -> Results:
        """The k best of FAISS's candidates by float32 scores, (Q, k) each."""
        if len(queries) >= BATCH and self.has_exact_lists:
            return self._search_batch(queries, k, candidates, parameters, selector)
        inner = _search_parameters(self.faiss_index, parameters, candidates, selector)
        if candidates == k and not self.compresses:
            scores, positions = self.faiss_index.search(queries, k, params=inner)
            return np.where(positions < 0, -np.inf, scores), positions
        refined = faiss.IndexRefine(self.faiss_index, self.rows.flat)
        factor = (candidates + 0.5) / k  # FAISS cuts k * factor down
        outer = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
        scores, positions = refined.search(queries, k, params=outer)
        return np.where(positions < 0, -np.inf, scores).astype(np.float32), positions

    def _with_equal(
        self, queries: Vectors, results: Results, k: int, allowed: Mask | None
    ) -> Results:
        """The results, the last score's replaced by those of all its equals that come first."""
        scores, positions = results
        last = scores[:, -1]
        among = None if allowed is None else np.flatnonzero(allowed)
        equal = self.rows.nearest_from(queries, last - rounding(queries), k, among, ceilings=last)
        above = scores > last[:, None]
        scores = np.concatenate([np.where(above, scores, -np.inf), equal[0]], axis=1)
        positions = np.concatenate([np.where(above, positions, -1), equal[1]], axis=1)
        return ranked(scores, positions, self.rows.ids_at(positions), k)

    def _search_batch(
        self, queries: Vectors, k: int, candidates: int, parameters: Parameters, selector: Any
    ) -> tuple[Vectors, Ids]:
        """As `search`, with the nearest lists of all queries found by one matrix product.

        FAISS itself takes a product in each thread, and the threads' products wait for one
        another: on two cores that takes two to six times as long (measured with 4,096 and 16,384
        lists, FAISS 1.15).
        """
        inner, transformed = self.faiss_index, queries
        while isinstance(inner, faiss.IndexPreTransform):
            for transform in faiss_memory.transforms_of(inner):
                transformed = transform.apply(transformed)
            inner = faiss.downcast_index(inner.index)
        settings = _search_parameters(inner, parameters, candidates, selector)
        metric = faiss.METRIC_INNER_PRODUCT
        cosines, lists = faiss.knn(transformed, self.centroids, settings.nprobe, metric)
        proposed = faiss_memory.search_lists(
            inner, transformed, lists, cosines, candidates, settings
        )
        if candidates == k and not self.compresses:
            return proposed
        return self.rows.best_of(queries, proposed[1], k)

    def write(self, file: Path) -> None:
        """Writes the FAISS index; a graph without the vectors, which the vector file holds.

        Raises:
            OSError: the file cannot be written, as on a full disk.
        """
        faiss_memory.write_index(self.faiss_index, file, with_storage=not self.is_graph)
        sync(file)


def innermost(index: Any) -> Any:
    """The index behind its transforms."""
    index = faiss.downcast_index(index)
    return innermost(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def inverted_file(index: Any) -> Any:
    """The inverted file within an index, or None."""
    inner = innermost(index)
    return inner if isinstance(inner, faiss.IndexIVF) else None


def reason(error: BaseException) -> str:
    """FAISS's message without the position in its sources."""
    text = str(error).replace("\n", " ")
    return text.partition("Error: ")[2] or text


def _search_parameters(index: Any, parameters: Parameters, k: int, selector: Any) -> Any:
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _search_parameters(index.index, parameters, k, selector)
        return faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        nprobe = min(parameters.get("nprobe", index.nlist), index.nlist)
        return faiss.SearchParametersIVF(sel=selector, nprobe=nprobe)
    if isinstance(index, faiss.IndexHNSW):
        width = max(parameters.get("efSearch", 64), k)
        return faiss.SearchParametersHNSW(sel=selector, efSearch=width)
    return faiss.SearchParameters(sel=selector)


def read_structure(file: Path, rows: VectorFile) -> Structure:
    """Opens a FAISS index of the vectors in `rows`; its checksum must have been checked before.

    Raises:
        IntegrityError: the file is not an index of these vectors.
    """
    try:
        index = faiss_memory.read_index(file)
    except (RuntimeError, MemoryError) as error:
        raise IntegrityError(f"FAISS cannot read {file}: {reason(error)}", REBUILD) from None
    if index.d != rows.dimensions or index.ntotal != len(rows):
        raise IntegrityError(
            f"{file} holds {index.ntotal} vectors of {index.d}, "
            f"expected {len(rows)} of {rows.dimensions}",
            REBUILD,
        )
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise IntegrityError(f"{file} does not compare by inner product", REBUILD)
    graph = innermost(index)
    if isinstance(graph, faiss.IndexHNSW) and graph.storage is None:
        faiss_memory.borrow_storage(graph, rows.flat)
    return Structure(index, rows)
