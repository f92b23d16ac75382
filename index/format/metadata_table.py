"""The table of items, a segment's `items.sqlite`: each row is an image and its metadata."""

import errno
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.embedding.array_types import Ids
from fgembed.errors import IntegrityError
from fgembed.index.format.manifest import REBUILD
from fgembed.index.format.metadata_columns import TEXT_LIMIT, declared, quoted, too_large

QUERY_IDS = 500  # below the limit on variables of every SQLite build
INDEXED_COLUMNS = 8  # metadata columns with an index, so that a filter need not read every row
BUILTIN_COLUMNS = {
    "id": "INTEGER PRIMARY KEY",
    "position": "INTEGER NOT NULL",
    "path": "TEXT NOT NULL",
    "sha256": "TEXT",
    "size": "INTEGER",
    "mtime_ns": "INTEGER",
    "ctime_ns": "INTEGER",
}


@dataclass(frozen=True)
class Item:
    """An image of the index.

    Attributes:
        id: of its vector.
        path: relative to the segment's root.
        sha256: of the file; None, like size and time, for an embedding that was imported.
        size: of the file in bytes.
        mtime_ns: time of the file's last change.
        ctime_ns: time of the file's last change of status; None also in an earlier table.
        values: of the metadata columns.
    """

    id: int
    path: str
    sha256: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    ctime_ns: int | None = None
    values: tuple[Any, ...] = ()


def write_items(file: Path, items: Iterable[Item], columns: dict[str, str]) -> Ids:
    """Writes a new table and gives its ids (N,).

    Args:
        file: does not exist yet.
        items: in the order of their vectors.
        columns: of the items' values, with SQL types.

    Raises:
        OSError: the file cannot be written, as on a full disk.
        FgembedError: the metadata of an image is too large.
    """
    types = BUILTIN_COLUMNS | {name: declared(kind) for name, kind in columns.items()}
    marks = ",".join("?" * len(types))
    ids: list[int] = []

    def rows() -> Iterator[tuple[Any, ...]]:
        for position, item in enumerate(items):
            ids.append(item.id)
            file_values = (item.path, item.sha256, item.size, item.mtime_ns, item.ctime_ns)
            yield item.id, position, *file_values, *item.values

    try:
        # Nobody else knows the new file, and not every disk has the locks that SQLite asks for.
        address = f"{file.absolute().as_uri()}?nolock=1"
        with closing(sqlite3.connect(address, uri=True)) as connection, connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, TEXT_LIMIT // 2)
            declarations = ", ".join(f"{quoted(name)} {kind}" for name, kind in types.items())
            connection.execute(f"CREATE TABLE items ({declarations})")
            connection.executemany(f"INSERT INTO items VALUES ({marks})", rows())
            for number, name in enumerate([*columns][:INDEXED_COLUMNS]):
                connection.execute(f"CREATE INDEX by_{number} ON items ({quoted(name)}, position)")
    except sqlite3.DataError:
        raise too_large(f"item {ids[-1]}") from None
    except sqlite3.OperationalError as error:
        raise OSError(errno.EIO, str(error), str(file)) from None
    return np.array(ids, np.int64)


def open_items(file: Path) -> sqlite3.Connection:
    """Opens a table for reading; the connection outlives a rebuild that deletes the file.

    Raises:
        IntegrityError: the file is missing.
    """
    address = f"{file.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(address, uri=True, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise IntegrityError(f"{file} cannot be opened: {error}", REBUILD) from None
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, TEXT_LIMIT)
    return connection


def read_items(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Item]:
    """Those of the ids that this segment has, each with its item."""
    width = _builtin_width(connection)
    rows = _rows_of(connection, "*", ids)
    return {item.id: item for item in (_item(row, width) for row in rows)}


def all_items(connection: sqlite3.Connection) -> Iterator[Item]:
    """Every item, in the order of the vectors' positions."""
    width = _builtin_width(connection)
    with readable():
        for row in connection.execute("SELECT * FROM items ORDER BY position"):
            yield _item(row, width)


def paths_at_every(connection: sqlite3.Connection, step: int) -> list[tuple[int, str]]:
    """Id and relative path of every item whose position is a multiple of `step`."""
    with readable():
        query = "SELECT id, path FROM items WHERE position % ? = 0"
        return connection.execute(query, (step,)).fetchall()


def positions_of(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, int]:
    """Those of the ids that this segment has, each with its vector's position."""
    return dict(_rows_of(connection, "id, position", ids))


def _rows_of(
    connection: sqlite3.Connection, columns: str, ids: Sequence[int]
) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(ids), QUERY_IDS):
        batch = ids[start : start + QUERY_IDS]
        marks = ",".join("?" * len(batch))
        with readable():
            yield from connection.execute(
                f"SELECT {columns} FROM items WHERE id IN ({marks})", batch
            )


def _item(row: tuple[Any, ...], width: int) -> Item:
    id_, _, path, sha256, size, mtime_ns = row[: len(BUILTIN_COLUMNS) - 1]
    return Item(
        id=id_, path=path, sha256=sha256, size=size, mtime_ns=mtime_ns,
        ctime_ns=row[width - 1] if width == len(BUILTIN_COLUMNS) else None, values=row[width:],
    )  # fmt: skip


def _builtin_width(connection: sqlite3.Connection) -> int:
    """How many columns come before the metadata; an earlier table has no `ctime_ns`."""
    with readable():
        names = [row[1] for row in connection.execute("PRAGMA table_info(items)")]
    return len(BUILTIN_COLUMNS) - (names[len(BUILTIN_COLUMNS) - 1 :][:1] != ["ctime_ns"])


@contextmanager
def readable() -> Iterator[None]:
    """Within the block an error of SQLite means that the table is damaged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"a table of items is damaged: {error}", REBUILD) from None
