"""Indexes of format 2, as version 0.1 before segments wrote them: read, never written.

They had one segment, whose FAISS file held all vectors under ids that were positions.
"""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fgembed.errors import IntegrityError
from fgembed.index.items import open_items
from fgembed.index.manifest import EARLIER, ITEMS_FILE, STRUCTURE_FILE, Segment
from fgembed.index.rows import Rows
from fgembed.index.segment import OpenSegment
from fgembed.index.structure import reason
from fgembed.index.structure_files import bounded
from fgembed.metrics import Vectors


def manifest_of_format_2(content: dict[str, Any]) -> dict[str, Any]:
    """Its content as of today; `ValueError` from there on says what is missing."""
    segments = [
        {
            **part,
            "factory": EARLIER,
            "parameters": {},
            "columns": {},
            "measured": _EXACT,
            "bytes_a_vector": 0.0,
        }
        for part in content.pop("segments", [])
    ]
    model = {name: content.pop(name, None) for name in ("bundle", "precision", "preprocessing")}
    model["fingerprint"] = content.pop("bundle_fingerprint", None)
    for name in ("parameters", "recall_at_10"):
        content.pop(name, None)
    roots = [part.get("root") for part in segments]
    return content | {
        "roots": roots,
        "model": model, "store": "float32", "recall": 0.95, "memory": 2_000_000_000,
        "removed": None, "segments": segments,
    }  # fmt: skip


_EXACT = {"queries": 0, "recall_at_10": 1.0, "query_ms": 0.0}


def open_segment_of_format_2(folder: Path, entry: Segment, dimensions: int) -> OpenSegment:
    """The segment in memory, searched exactly.

    Raises:
        IntegrityError: its file is not what the manifest says.
    """
    place = folder / entry.name
    vectors = _vectors(place / STRUCTURE_FILE)
    if vectors.shape != (entry.count, dimensions):
        raise IntegrityError(
            f"{place / STRUCTURE_FILE} holds {len(vectors)} vectors of {vectors.shape[1]}, the "
            f"manifest says {entry.count} of {dimensions}"
        )
    base = open_items(place / ITEMS_FILE)
    base.execute(
        "CREATE TEMP VIEW items AS SELECT id, id AS position, path, sha256, size, mtime_ns "
        "FROM main.items"
    )
    nothing = np.zeros(0, np.int64)
    ids = np.arange(entry.count, dtype=np.int64)
    return OpenSegment(entry, Rows(vectors), ids, base, None, nothing)


def _vectors(file: Path) -> Vectors:
    """Every vector in the order of their ids, 0 to N - 1."""
    try:
        with bounded(file):
            whole = faiss.read_index(str(file))  # owns what it wraps
        index = whole
        if isinstance(whole, faiss.IndexIDMap2):
            index = faiss.downcast_index(whole.index)
        if isinstance(index, faiss.IndexIVFFlat):
            index.make_direct_map()
        vectors: Vectors = index.reconstruct_n(0, index.ntotal)
    except (RuntimeError, MemoryError) as error:
        raise IntegrityError(f"FAISS cannot read {file}: {reason(error)}") from None
    return vectors
