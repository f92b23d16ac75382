"""FAISS's memory and C functions: nothing else in fgembed reaches into them.

FAISS documents few of them and may change them with any minor version. Each function has a test of
its own, and `pyproject.toml` bounds `faiss-cpu` by the next minor version.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from fgembed.embedding.array_types import Ids, Vectors

SKIP_STORAGE = faiss.IO_FLAG_SKIP_STORAGE
ALLOCATION_FACTOR = 4  # times a file's size that FAISS may allocate while it reads the file
_LIMITS = threading.Lock()
MIN_ALLOCATION_BYTES = 1 << 26  # always allowed: FAISS counts a transform's matrix, stored or not


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Within the block FAISS uses `count` threads, after it as many as before.

    OpenMP keeps the number for each calling thread (OpenMP 5.2, section 2.2: `nthreads-var` has
    the scope of the data environment). So blocks in several threads do not affect one another and
    need no lock.

    Example:
        >>> before = faiss.omp_get_max_threads()
        >>> with faiss_threads(before + 1):
        ...     faiss.omp_get_max_threads() - before
        1
        >>> faiss.omp_get_max_threads() - before
        0
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def flat_view(array: Vectors) -> Any:
    """A flat FAISS index over an array's own memory; it must not outlive the array.

    Args:
        array: vectors (N, D), contiguous, float32 or float16, perhaps mapped.
    """
    dimensions = array.shape[1]
    if array.dtype == np.float32:
        index: Any = faiss.IndexFlatIP(dimensions)
    else:
        half = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexScalarQuantizer(dimensions, half, faiss.METRIC_INNER_PRODUCT)
    if len(array):
        memory = faiss.swig_ptr(array.reshape(-1).view(np.uint8))
        owner = index.codes.owner  # null: the vector that is replaced was empty
        index.codes = faiss.MaybeOwnedVectorUInt8.create_view(memory, array.nbytes, owner)
    index.ntotal = len(array)
    index.is_trained = True
    return index


def selector_of(allowed: NDArray[np.bool_]) -> Any:
    """FAISS's selector of the positions at which `allowed` (N,) is true."""
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def transforms_of(index: Any) -> list[Any]:
    """The transforms of an IndexPreTransform, in the order in which they are applied."""
    chain = index.chain
    return [faiss.downcast_VectorTransform(chain.at(step)) for step in range(chain.size())]


def search_lists(
    inverted: Any, queries: Vectors, lists: Ids, scores: Vectors, k: int, parameters: Any
) -> tuple[Vectors, Ids]:
    """Searches the requested lists of an inverted file.

    FAISS's Python function for this takes no parameters, so no filter.

    Args:
        inverted: an IndexIVF of dimension D.
        queries: (Q, D).
        lists: numbers of the lists of each query (Q, nprobe).
        scores: of the queries with the lists' centroids (Q, nprobe).
        k: the number of results.
        parameters: SearchParametersIVF; its `nprobe` is the number of columns of `lists`.

    Returns:
        Scores and positions, (Q, k) each, by falling score; position -1 where there are fewer.
    """
    shape = (len(queries), parameters.nprobe)
    if queries.shape != (len(queries), inverted.d) or not lists.shape == scores.shape == shape:
        # invariant: C++ reads past the end of smaller arrays.
        raise ValueError(f"queries {queries.shape}, lists {lists.shape}, scores {scores.shape}")
    queries = np.ascontiguousarray(queries, np.float32)
    lists = np.ascontiguousarray(lists, np.int64)
    scores = np.ascontiguousarray(scores, np.float32)
    best = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    inverted.search_preassigned_c(
        len(queries), faiss.swig_ptr(queries), k, faiss.swig_ptr(lists), faiss.swig_ptr(scores),
        faiss.swig_ptr(best), faiss.swig_ptr(positions), False, parameters,
    )  # fmt: skip
    return best, positions


def replace_quantizer(inverted: Any, quantizer: Any) -> None:
    """Gives an inverted file another quantizer, which it then owns and deletes."""
    inverted.quantizer = quantizer
    quantizer.this.disown()
    inverted.own_fields = True


def borrow_storage(graph: Any, storage: Any) -> None:
    """Gives an IndexHNSW that has no vectors those of `storage`, which must outlive it."""
    graph.storage = storage
    graph.own_fields = False


def graph_entry(graph: Any) -> int:
    """The vertex of an IndexHNSW at which searches begin, -1 if it has none."""
    return int(graph.hnsw.entry_point)


def graph_width(graph: Any) -> int:
    """The number of links that a vertex of an IndexHNSW has on level 0, free ones included."""
    return int(graph.hnsw.nb_neighbors(0))


def graph_links(graph: Any) -> NDArray[np.int32]:
    """The links of an IndexHNSW on all levels: FAISS's own memory, so writing changes the graph.

    -1 marks a free link. The array is valid until the graph gets vectors or is deleted.
    """
    links = graph.hnsw.neighbors
    view: NDArray[np.int32] = faiss.rev_swig_ptr(links.data(), links.size())
    return view


def graph_offsets(graph: Any) -> Ids:
    """The position in `graph_links` at which the links of each vertex begin (N,)."""
    offsets: Ids = faiss.vector_to_array(graph.hnsw.offsets)[:-1].astype(np.int64)
    return offsets


def graph_levels(graph: Any) -> NDArray[np.int32]:
    """The number of levels that each vertex of an IndexHNSW belongs to (N,), 1 or more."""
    levels: NDArray[np.int32] = faiss.vector_to_array(graph.hnsw.levels)
    return levels


def write_index(index: Any, file: Path, with_storage: bool = True) -> None:
    """Writes a FAISS index; a graph without its vectors unless `with_storage`.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    # Python's own file: FAISS's does not notice that its last block could not be written.
    try:
        with file.open("wb") as stream:
            writer = faiss.PyCallbackIOWriter(stream.write)
            faiss.write_index(index, writer, 0 if with_storage else SKIP_STORAGE)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


def read_index(file: Path) -> Any:
    """Maps a FAISS index; a graph that was written without its vectors has no storage.

    FAISS allocates no more than 64 MB or a few times the file's size, whatever the file says.

    Raises:
        RuntimeError: FAISS cannot read the file.
        MemoryError: the file asks for too much memory.
    """
    with bounded_allocation(file.stat().st_size):
        return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC | SKIP_STORAGE)


@contextmanager
def bounded_allocation(file_bytes: int) -> Iterator[None]:
    """Within the block FAISS refuses to allocate far more than a file of that size can hold.

    The limits are of the process: one block at a time, in any thread.
    """
    with _LIMITS:
        yield from _bounded(file_bytes)


def _bounded(file_bytes: int) -> Iterator[None]:
    vector_limit = faiss.get_deserialization_vector_byte_limit()
    loop_limit = faiss.get_deserialization_loop_limit()
    limit = max(MIN_ALLOCATION_BYTES, ALLOCATION_FACTOR * file_bytes)
    faiss.set_deserialization_vector_byte_limit(limit)
    faiss.set_deserialization_loop_limit(limit)
    try:
        yield
    finally:
        faiss.set_deserialization_vector_byte_limit(vector_limit)
        faiss.set_deserialization_loop_limit(loop_limit)
