"""The table of items, a segment's `items.sqlite`: each row is an image and its metadata."""

import errno
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.embedding.array_types import Ids
from fgembed.errors import FgembedError, IntegrityError
from fgembed.index.format.manifest import REBUILD
from fgembed.index.format.metadata_columns import (
    TEXT_LIMIT,
    declared,
    folded,
    quoted,
    too_large,
)

QUERY_IDS = 500  # below the limit on variables of every SQLite build
INDEXED_COLUMNS = 8  # metadata columns with an index, so that a filter need not read every row
WHERE_STEPS = 2_000_000_000  # of SQLite's machine, that a condition may take
CHECK_STEPS = 100_000  # between two checks of `WHERE_STEPS`
BUILTIN_COLUMNS = {
    "id": "INTEGER PRIMARY KEY",
    "position": "INTEGER NOT NULL",
    "path": "TEXT NOT NULL",
    "sha256": "TEXT",
    "size": "INTEGER",
    "mtime_ns": "INTEGER",
}
FILE_COLUMNS = ("sha256", "size", "mtime_ns")
POSITION_LIMIT = 1 << 40  # positions are below it
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})


@dataclass(frozen=True)
class Item:
    """An image of the index.

    Attributes:
        id: of its vector.
        path: relative to the segment's root.
        sha256: of the file; None, like size and time, for an embedding that was imported.
        size: of the file in bytes.
        mtime_ns: time of the file's last change.
        values: of the metadata columns.
    """

    id: int
    path: str
    sha256: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
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
            file_values = (item.path, item.sha256, item.size, _within_int64(item.mtime_ns))
            yield item.id, position, *file_values, *item.values

    try:
        with closing(sqlite3.connect(file)) as connection, connection:
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


def _within_int64(time_ns: int | None) -> int | None:
    """The time, or the nearest one that SQLite holds: from 1677 to 2262."""
    return time_ns if time_ns is None else min(max(time_ns, -(1 << 63)), (1 << 63) - 1)


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
    rows = _rows_of(connection, "*", ids)
    return {item.id: item for item in map(_item, rows)}


def all_items(connection: sqlite3.Connection) -> Iterator[Item]:
    """Every item, in the order of the vectors' positions."""
    with _readable():
        yield from map(_item, connection.execute("SELECT * FROM items ORDER BY position"))


def positions_of(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, int]:
    """Those of the ids that this segment has, each with its vector's position."""
    return dict(_rows_of(connection, "id, position", ids))


def _rows_of(
    connection: sqlite3.Connection, columns: str, ids: Sequence[int]
) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(ids), QUERY_IDS):
        batch = ids[start : start + QUERY_IDS]
        marks = ",".join("?" * len(batch))
        with _readable():
            yield from connection.execute(
                f"SELECT {columns} FROM items WHERE id IN ({marks})", batch
            )


def positions_where(
    connection: sqlite3.Connection, condition: str, columns: dict[str, str], root: str
) -> Ids:
    """Positions of the items that meet an SQL condition (N,), in no order.

    The condition may read and compare, no more. A column that only other segments have is NULL
    in this one. `path` is the absolute path.

    Args:
        connection: to the segment's table.
        condition: the expression after WHERE.
        columns: every metadata column of the index, with its type.
        root: the folder that the items' paths are relative to.

    Raises:
        FgembedError: it is no condition, names an unknown column, or runs for too long.
    """
    _check_names(condition, columns)
    source = _source(connection, columns, root)
    try:
        with _restricted(connection):
            rows = connection.execute(
                f"SELECT position FROM {source} AS items WHERE (\n{condition}\n)"
            )
            positions = [row[0] for row in rows]
        if all(type(position) is int and 0 <= position < POSITION_LIMIT for position in positions):
            return np.array(positions, np.int64)
        raise ValueError("its result is no image")
    except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError, ValueError) as error:
        raise _refusal(condition, columns, error) from None


def _source(connection: sqlite3.Connection, columns: dict[str, str], root: str) -> str:
    """The table that a condition sees: absolute paths, and every column of the index."""
    with _readable():
        existing = {folded(row[1]) for row in connection.execute("PRAGMA table_info(items)")}
    selected = ["id", "position", f"{_text(root.rstrip('/') + '/')} || path AS path", *FILE_COLUMNS]
    for name, kind in columns.items():
        # A plus removes the type's rule of comparison, for a column of several types.
        plus = "+" if kind in ("ANY", "NULL") else ""
        value = f"{plus}{quoted(name)}" if folded(name) in existing else "NULL"
        selected.append(f"{value} AS {quoted(name)}")
    return f"(SELECT {', '.join(selected)} FROM items)"


@contextmanager
def _restricted(connection: sqlite3.Connection) -> Iterator[None]:
    """Within the block SQLite only reads, and stops after `WHERE_STEPS`."""
    checks = count(1)
    connection.set_authorizer(lambda action, *_: 0 if action in _ALLOWED else 1)
    connection.set_progress_handler(
        lambda: int(next(checks) * CHECK_STEPS > WHERE_STEPS), CHECK_STEPS
    )
    try:
        yield
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)


def _check_names(condition: str, columns: dict[str, str]) -> None:
    """Refuses unknown names in double quotes, which SQLite would take for text."""
    existing = {folded(name) for name in [*BUILTIN_COLUMNS, *columns]}
    for name in re.findall(r'"((?:[^"]|"")*)"', re.sub(r"'(?:[^']|'')*'", "''", condition)):
        if folded(name.replace('""', '"')) not in existing:
            error = ValueError(f"no such column: {name}; text stands in single quotes")
            raise _refusal(condition, columns, error)


def _text(value: str) -> str:
    """A text as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _refusal(condition: str, columns: dict[str, str], error: Exception) -> FgembedError:
    reason = "interrupted: it takes too long" if "interrupt" in str(error) else str(error)
    names = [name for name in BUILTIN_COLUMNS if name != "position"]
    names += [name if name.isidentifier() else quoted(name) for name in columns]
    return FgembedError(
        f"--where {condition!r} cannot be evaluated: {reason}",
        f"give a condition on the columns {', '.join(names)}",
    )


def _item(row: tuple[Any, ...]) -> Item:
    id_, _, path, sha256, size, mtime_ns, *values = row
    return Item(
        id=id_, path=path, sha256=sha256, size=size, mtime_ns=mtime_ns, values=tuple(values)
    )


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"a table of items is damaged: {error}", REBUILD) from None
