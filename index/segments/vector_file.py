"""A segment's vectors, exactly as given, in a .npy file that is mapped and never read as a whole.

FAISS searches the mapped memory in place: exactly, or to score anew what a compressed structure
has proposed. What is not looked at needs no memory.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import IntegrityError
from fgembed.index.format.manifest import STORES
from fgembed.index.format.npy_files import read_array

CHUNK_BYTES = 1 << 24  # of float32 vectors at once


def write_rows(file: Path, chunks: Iterable[Vectors], shape: tuple[int, int], store: str) -> None:
    """Writes vectors of a shape (N, D) that come some at a time; N must be right."""
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
    if written != shape[0]:
        raise ValueError(f"{written} of {shape[0]} rows were written")


class VectorFile:
    """Vectors (N, D), float32 or float16, that FAISS searches where they lie."""

    def __init__(self, array: Vectors) -> None:
        self.array = array
        self.flat = _view(array)

    @classmethod
    def open(cls, file: Path, count: int, dimensions: int) -> Self:
        """Maps a file.

        Raises:
            IntegrityError: it does not hold `count` vectors of `dimensions`.
        """
        try:
            array = read_array(file)
        except ValueError as error:
            raise IntegrityError(f"{file} is damaged: {error}") from None
        if array.shape != (count, dimensions) or array.dtype.name not in STORES:
            raise IntegrityError(
                f"{file} holds {array.dtype} of shape {array.shape}, expected {STORES[0]} or "
                f"{STORES[1]} of {(count, dimensions)}"
            )
        if not array.flags.c_contiguous or not array.dtype.isnative:
            raise IntegrityError(f"{file} is not in rows of this machine's numbers")
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
        """Places and vectors (B, D) float32, of all rows or those at the positions (M,)."""
        count = len(self) if positions is None else len(positions)
        step = max(1, CHUNK_BYTES // (4 * self.dimensions))
        for start in range(0, count, step):
            chosen = slice(start, start + step)
            part = self.array[chosen] if positions is None else self.array[positions[chosen]]
            yield start, np.asarray(part, np.float32)

    def best_of(self, queries: Vectors, positions: Ids, k: int) -> tuple[Vectors, Ids]:
        """Of candidates (Q, M) for each query the k best by their vectors; -1 is no candidate.

        Gives scores and positions, (Q, k) each, by falling score.
        """
        best = np.empty((len(queries), k), np.float32)
        found = np.empty((len(queries), k), np.int64)
        step = max(1, CHUNK_BYTES // (4 * self.dimensions * positions.shape[1]))
        for start in range(0, len(queries), step):
            some = positions[start : start + step]
            vectors = np.asarray(self.array[some], np.float32)  # (B, M, D)
            scores = np.einsum("bmd,bd->bm", vectors, queries[start : start + step])
            scores[some < 0] = -np.inf
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            best[start : start + step] = np.take_along_axis(scores, order, axis=1)
            found[start : start + step] = np.take_along_axis(some, order, axis=1)
        return best, found

    def exact(self, queries: Vectors, k: int, positions: Ids | None = None) -> tuple[Vectors, Ids]:
        """Scores and positions, (Q, k) each, among all rows or those at the positions (M,).

        By falling score; position -1 where there are fewer than k.
        """
        best = np.full((len(queries), k), -np.inf, np.float32)
        found = np.full((len(queries), k), -1, np.int64)
        for start, vectors in self.chunks(positions):
            scores, places = faiss.knn(
                queries, vectors, min(k, len(vectors)), faiss.METRIC_INNER_PRODUCT
            )
            places = places + start
            best, found = merge([(best, found), (scores, places)], k)
        if positions is not None and len(positions):
            found = np.where(found < 0, -1, positions[found])
        return best, found


def merge(parts: list[tuple[Vectors, Ids]], k: int) -> tuple[Vectors, Ids]:
    """The k best of several results (Q, any), each scores and ids; earlier parts win ties."""
    scores, ids = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)


def _view(array: Vectors) -> Any:
    """A FAISS index over the array's own memory; it must not outlive the array."""
    metric, dimensions = faiss.METRIC_INNER_PRODUCT, array.shape[1]
    if array.dtype == np.float32:
        index: Any = faiss.IndexFlatIP(dimensions)
    else:
        half = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexScalarQuantizer(dimensions, half, metric)
    if len(array):
        memory = faiss.swig_ptr(array.reshape(-1).view(np.uint8))
        owner = index.codes.owner  # nobody: the vector that it replaces was empty
        index.codes = faiss.MaybeOwnedVectorUInt8.create_view(memory, array.nbytes, owner)
    index.ntotal = len(array)
    index.is_trained = True
    return index
