"""A segment on disk: vectors in FAISS's own file format, and what belongs to each id."""

import errno
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss

from fgembed.errors import IntegrityError
from fgembed.files import sha256, sync
from fgembed.index.manifest import ITEMS_FILE, VECTORS_FILE, Manifest, Segment

QUERY_IDS = 500  # below the limit on variables of every SQLite build


@dataclass(frozen=True)
class Item:
    """What the index knows of one picture; `path` is relative to its segment's root."""

    id: int
    path: str
    sha256: str
    size: int
    mtime_ns: int


def write_segment(
    folder: Path, name: str, root: Path, faiss_index: Any, items: Sequence[Item]
) -> Segment:
    """Writes a new segment below the index folder and returns its entry for the manifest.

    Raises:
        OSError: it cannot be written, as on a full disk; nothing of it is left.
    """
    place = folder / name
    place.mkdir(parents=True)
    try:
        _write_vectors(place / VECTORS_FILE, faiss_index)
        _write_items(place / ITEMS_FILE, items)
        for path in (*place.iterdir(), place, folder):
            sync(path)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    files = {f"{name}/{file}": sha256(place / file) for file in (VECTORS_FILE, ITEMS_FILE)}
    return Segment(name, str(root.resolve()), len(items), files)


def open_vectors(folder: Path, segment: Segment, manifest: Manifest) -> Any:
    """The segment's FAISS index; `Manifest.check` must have proved its file before.

    Raises:
        IntegrityError: the file is not what the manifest says.
    """
    file = folder / segment.name / VECTORS_FILE
    try:
        index = faiss.read_index(str(file))
    except RuntimeError as error:
        raise IntegrityError(f"FAISS cannot read {file}: {error}") from None
    if index.d != manifest.dimensions or index.ntotal != segment.count:
        raise IntegrityError(
            f"{file} holds {index.ntotal} vectors of {index.d}, "
            f"the manifest says {segment.count} of {manifest.dimensions}"
        )
    return index


def open_items(folder: Path, segment: Segment) -> sqlite3.Connection:
    """The segment's table of items, for reading; it outlives a rebuild that deletes the file."""
    address = f"{(folder / segment.name / ITEMS_FILE).resolve().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(address, uri=True, check_same_thread=False)


def read_items(base: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Item]:
    """The items of the given ids that lie in this segment."""
    found: dict[int, Item] = {}
    for start in range(0, len(ids), QUERY_IDS):
        some = ids[start : start + QUERY_IDS]
        marks = ",".join("?" * len(some))
        rows = base.execute(
            f"SELECT id, path, sha256, size, mtime_ns FROM items WHERE id IN ({marks})", some
        )
        found |= {row[0]: Item(*row) for row in rows}
    return found


def _write_vectors(file: Path, faiss_index: Any) -> None:
    # Through a file of our own: FAISS's own does not notice that its last block is not written.
    try:
        with file.open("wb") as stream:
            writer = faiss.PyCallbackIOWriter(stream.write)  # type: ignore[attr-defined]
            faiss.write_index(faiss_index, writer)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


def _write_items(file: Path, items: Sequence[Item]) -> None:
    rows = [(item.id, item.path, item.sha256, item.size, item.mtime_ns) for item in items]
    try:
        with closing(sqlite3.connect(file)) as base, base:
            base.execute(
                "CREATE TABLE items (id INTEGER PRIMARY KEY, path TEXT NOT NULL, "
                "sha256 TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL)"
            )
            base.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)
    except sqlite3.OperationalError as error:
        raise OSError(errno.EIO, str(error), str(file)) from None
