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

CHUNK_BYTES = 1 << 24  # of float32 vectors at once


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
        flat: a FAISS index over the array's memory.

    Example:
        >>> file = VectorFile(np.eye(3, dtype=np.float32))
        >>> scores, positions = file.exact(np.array([[0, 0.6, 0.8]], np.float32), k=2)
        >>> positions.tolist()
        [[2, 1]]
    """

    def __init__(self, array: Vectors) -> None:
        self.array = array
        self.flat = flat_view(array)

    @classmethod
    def open(cls, file: Path, count: int, dimensions: int) -> Self:
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
        return cls(array)

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

    def best_of(self, queries: Vectors, positions: Ids, k: int) -> tuple[Vectors, Ids]:
        """The k best of each query's candidates (Q, M) by their vectors; -1 is no candidate.

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

    def exact(self, queries: Vectors, k: int, positions: Ids | None = None) -> tuple[Vectors, Ids]:
        """Exact search of all vectors, or of those at the positions (M,).

        Returns:
            Scores and positions, (Q, k) each, by falling score; score -inf and position -1 where
            there are fewer than k.
        """
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


def merge(parts: list[tuple[Vectors, Ids]], k: int) -> tuple[Vectors, Ids]:
    """The k best of several results, each scores and ids (Q, any); earlier results win ties.

    Example:
        >>> first = np.array([[0.9, 0.1]]), np.array([[7, 8]])
        >>> second = np.array([[0.5]]), np.array([[3]])
        >>> merge([first, second], k=2)[1].tolist()
        [[7, 3]]
    """
    scores, ids = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
