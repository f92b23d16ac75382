"""Structures in files: read with a bound on memory, bound to the rows that they were made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss

from fgembed.errors import IntegrityError
from fgembed.index.rows import Rows
from fgembed.index.structure import SKIP_STORAGE, Structure, innermost, reason

SLACK = 4  # times a file's size that FAISS may allocate while reading it
LEAST = 1 << 26  # bytes that it may anyhow: of a transform it allows for a matrix, stored or not


def read_structure(file: Path, rows: Rows) -> Structure:
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
