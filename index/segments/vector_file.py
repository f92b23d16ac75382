"""A segment's vectors, uncompressed, in a .npy file that is mapped and never read completely.

FAISS searches the mapped memory in place: exactly, or to score the candidates of a compressed
structure. Vectors that no search reads take no memory.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import faiss
import numpy as np

from fgembed.disk.npy_files import read_array
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import IntegrityError
from fgembed.index.format.manifest import REBUILD, STORES
from fgembed.index.segments.faiss_memory import flat_view
from fgembed.index.segments.ordering import (
    CHUNK_BYTES,
    Results,
    is_cut,
    merge,
    pair_scores,
    ranked,
    rounding,
    with_spare,
)

COMPARED = 64  # queries that are compared with a chunk of vectors at once


def write_rows(file: Path, chunks: Iterable[Vectors], shape: tuple[int, int], store: str) -> None:
    """Writes vectors (N, D) that come in chunks.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    kind = np.dtype(store)
    header = {
        "descr": np.lib.format.dtype_to_descr(kind),
        "fortran_order": False,
        "shape": shape,
    }
    written = 0
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for vectors in chunks:
            stream.write(np.ascontiguousarray(vectors, kind).data)
            written += len(vectors)
    if written != shape[0]:  # invariant: callers count the vectors first
        raise ValueError(f"{written} of {shape[0]} rows were written")


class VectorFile:
    """Vectors (N, D), float32 or float16, that FAISS searches without a copy.

    Attributes:
        array: the vectors, perhaps mapped.
        ids: of the vectors (N,); equal scores are in their order, in that of the positions if None.
        flat: a FAISS index over the array's memory.

    Example:
        >>> file = VectorFile(np.eye(3, dtype=np.float32))
        >>> scores, positions = file.exact(np.array([[0, 0.6, 0.8]], np.float32), k=2)
        >>> positions.tolist()
        [[2, 1]]
    """

    def __init__(self, array: Vectors, ids: Ids | None = None) -> None:
        self.array = array
        self.ids = ids
        self.flat = flat_view(array)

    @classmethod
    def open(cls, file: Path, count: int, dimensions: int, ids: Ids | None = None) -> Self:
        """Maps a file.

        Raises:
            IntegrityError: it does not hold `count` vectors of `dimensions`.
        """
        try:
            array = read_array(file)
        except ValueError as error:
            raise IntegrityError(f"{file} is damaged: {error}", REBUILD) from None
        if array.shape != (count, dimensions) or array.dtype.name not in STORES:
            raise IntegrityError(
                f"{file} holds {array.dtype} of shape {array.shape}, expected {STORES[0]} or "
                f"{STORES[1]} of {(count, dimensions)}",
                REBUILD,
            )
        if not array.flags.c_contiguous or not array.dtype.isnative:
            raise IntegrityError(
                f"{file} is in Fortran order or of another byte order than this machine's", REBUILD
            )
        return cls(array, ids)

    def __len__(self) -> int:
        return len(self.array)

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.array.shape[1])

    def take(self, positions: Ids) -> Vectors:
        """The vectors (M, D) float32 at the positions (M,)."""
        return np.asarray(self.array[positions], np.float32)

    def chunks(self, positions: Ids | None = None) -> Iterator[tuple[int, Vectors]]:
        """Starts and vectors (B, D) float32, of all vectors or of those at the positions (M,)."""
        count = len(self) if positions is None else len(positions)
        step = max(1, CHUNK_BYTES // (4 * self.dimensions))
        for start in range(0, count, step):
            chunk = slice(start, start + step)
            vectors = self.array[chunk] if positions is None else self.array[positions[chunk]]
            yield start, np.asarray(vectors, np.float32)

    def best_of(self, queries: Vectors, positions: Ids, k: int) -> Results:
        """The k best of each query's candidates (Q, M) by float32 scores; -1 is no candidate.

        Returns:
            Scores and positions, (Q, k) each, by falling score.
        """
        best = np.empty((len(queries), k), np.float32)
        best_positions = np.empty((len(queries), k), np.int64)
        step = max(1, CHUNK_BYTES // (4 * self.dimensions * positions.shape[1]))
        for start in range(0, len(queries), step):
            candidates = positions[start : start + step]
            vectors = np.asarray(self.array[candidates], np.float32)  # (B, M, D)
            scores = np.einsum("bmd,bd->bm", vectors, queries[start : start + step])
            scores[candidates < 0] = -np.inf
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            best[start : start + step] = np.take_along_axis(scores, order, axis=1)
            best_positions[start : start + step] = np.take_along_axis(candidates, order, axis=1)
        return best, best_positions

    def ordered(self, queries: Vectors, positions: Ids, k: int) -> Results:
        """The k best of each query's candidates (Q, M), scored pair by pair; -1 is no candidate.

        Returns:
            Scores and positions, (Q, k) each, by falling score, equal scores by rising id.
        """
        scores = pair_scores(self.array, queries, positions)
        return ranked(scores, positions, self.ids_at(positions), k)

    def exact(self, queries: Vectors, k: int, positions: Ids | None = None) -> Results:
        """Exact search of all vectors, or of those at the positions (M,).

        Returns:
            Scores and positions, (Q, k) each, by falling score, equal scores by rising id; score
            -inf and position -1 where there are fewer than k.
        """
        count = len(self) if positions is None else len(positions)
        proposed = min(with_spare(k), max(count, k))
        scores, neighbours = self._proposed(queries, proposed, positions)
        best, found = self.ordered(queries, neighbours, k)
        if proposed < count:
            cut = np.flatnonzero(is_cut(queries, scores, k))
            floors = scores[cut, k - 1] - 2 * rounding(queries[cut])
            best[cut], found[cut] = self.nearest_from(queries[cut], floors, k, positions)
        return best, found

    def nearest_from(
        self,
        queries: Vectors,
        floors: Vectors,
        k: int,
        positions: Ids | None = None,
        ceilings: Vectors | None = None,
    ) -> Results:
        """The k best whose score is not below a floor, however many they are; memory is bounded.

        Args:
            queries: (Q, D).
            floors: lowest float32 score of each query's results (Q,).
            k: number of results.
            positions: that are compared (M,), None for all.
            ceilings: highest score of each query's results (Q,), None for no limit.

        Returns:
            As `exact`.
        """
        best = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in queries]
        for start, vectors in self.chunks(positions) if len(queries) else ():
            for block in range(0, len(queries), COMPARED):
                products = queries[block : block + COMPARED] @ vectors.T
                for row, product in enumerate(products, start=block):
                    near = start + np.flatnonzero(product >= floors[row])
                    near = near if positions is None else positions[near]
                    ceiling = np.inf if ceilings is None else ceilings[row]
                    best[row] = self._joined(best[row], queries[row], near, ceiling, k)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        found = np.full((len(queries), k), -1, np.int64)
        for row, (row_scores, row_positions) in enumerate(best):
            scores[row, : len(row_scores)] = row_scores
            found[row, : len(row_scores)] = row_positions
        return scores, found

    def _joined(self, best: Results, query: Vectors, near: Ids, ceiling: float, k: int) -> Results:
        """The k best of one query's results and of the positions (M,) up to a score."""
        if not len(near):
            return best
        scores = pair_scores(self.array, query[None], near[None])[0]
        kept = scores <= ceiling
        scores = np.concatenate([best[0], scores[kept]])
        near = np.concatenate([best[1], near[kept]])
        first = ranked(scores[None], near[None], self.ids_at(near)[None], k)
        return first[0][0], first[1][0]

    def _proposed(self, queries: Vectors, k: int, positions: Ids | None) -> Results:
        """The k best by FAISS, scores and positions (Q, k), in no certain order of equal ones."""
        best = np.full((len(queries), k), -np.inf, np.float32)
        neighbours = np.full((len(queries), k), -1, np.int64)
        for start, vectors in self.chunks(positions):
            scores, rows = faiss.knn(
                queries, vectors, min(k, len(vectors)), faiss.METRIC_INNER_PRODUCT
            )
            best, neighbours = merge([(best, neighbours), (scores, rows + start)], k)
        if positions is not None and len(positions):
            neighbours = np.where(neighbours < 0, -1, positions[neighbours])
        return best, neighbours

    def ids_at(self, positions: Ids) -> Ids:
        """What equal scores at these positions (any shape) are ordered by."""
        return positions if self.ids is None else self.ids[positions]
