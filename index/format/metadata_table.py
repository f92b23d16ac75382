"""What belongs to an id: the picture and its metadata, a row of a segment's `items.sqlite`."""

import errno
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.embedding.array_types import Ids
from fgembed.errors import FgembedError, IntegrityError
from fgembed.index.format.metadata_columns import declared, folded, quoted

QUERY_IDS = 500  # below the limit on variables of every SQLite build
INDEXED_COLUMNS = 8  # columns that a filter finds without reading every row
STEPS_A_CHECK, WHERE_STEPS = 100_000, 2_000_000_000
BUILTIN_COLUMNS = {
    "id": "INTEGER PRIMARY KEY",
    "position": "INTEGER NOT NULL",
    "path": "TEXT NOT NULL",
    "sha256": "TEXT",
    "size": "INTEGER",
    "mtime_ns": "INTEGER",
}
FACTS = ("sha256", "size", "mtime_ns")
LAST = 1 << 40  # positions are below
TEXT_LIMIT = 10_000_000  # bytes that a condition may make
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}


@dataclass(frozen=True)
class Item:
    """What the index knows of one picture; `path` is relative to its segment's root.

    Of an embedding that came without its picture, checksum, size and time are not known.
    """

    id: int
    path: str
    sha256: str | None
    size: int | None
    mtime_ns: int | None
    values: tuple[Any, ...] = ()


def write_items(file: Path, items: Iterable[Item], columns: dict[str, str]) -> Ids:
    """Writes a new table and gives its ids; `columns` names the items' values, with SQL types.

    The place of an item is its vector's position.

    Raises:
        OSError: it cannot be written, as on a full disk.
        FgembedError: the metadata of one picture is too large.
    """
    named = BUILTIN_COLUMNS | {name: declared(kind) for name, kind in columns.items()}
    marks = ",".join("?" * len(named))
    ids: list[int] = []

    def rows() -> Iterator[tuple[Any, ...]]:
        for position, item in enumerate(items):
            ids.append(item.id)
            facts = (item.path, item.sha256, item.size, item.mtime_ns)
            yield item.id, position, *facts, *item.values

    try:
        with closing(sqlite3.connect(file)) as base, base:
            base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, TEXT_LIMIT // 2)
            given = ", ".join(f"{quoted(name)} {kind}" for name, kind in named.items())
            base.execute(f"CREATE TABLE items ({given})")
            base.executemany(f"INSERT INTO items VALUES ({marks})", rows())
            for number, name in enumerate([*columns][:INDEXED_COLUMNS]):
                base.execute(f"CREATE INDEX by_{number} ON items ({quoted(name)}, position)")
    except sqlite3.DataError:
        raise FgembedError(
            f"the metadata of item {ids[-1]} takes more than {TEXT_LIMIT // 2} bytes",
            "leave it out",
        ) from None
    except sqlite3.OperationalError as error:
        raise OSError(errno.EIO, str(error), str(file)) from None
    return np.array(ids, np.int64)


def open_items(file: Path) -> sqlite3.Connection:
    """A table for reading; it outlives a rebuild that deletes the file.

    Raises:
        IntegrityError: it is not there.
    """
    address = f"{file.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        base = sqlite3.connect(address, uri=True, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise IntegrityError(f"{file} cannot be opened: {error}") from None
    base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, TEXT_LIMIT)
    return base


def read_items(base: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Item]:
    """The items of the given ids that lie in this segment, with their metadata."""
    found: dict[int, Item] = {}
    for start in range(0, len(ids), QUERY_IDS):
        some = ids[start : start + QUERY_IDS]
        marks = ",".join("?" * len(some))
        with _readable(base):
            for row in base.execute(f"SELECT * FROM items WHERE id IN ({marks})", some):
                found[row[0]] = _item(row)
    return found


def all_items(base: sqlite3.Connection) -> Iterator[Item]:
    """Every item, in the order of the vectors' positions."""
    with _readable(base):
        yield from map(_item, base.execute("SELECT * FROM items ORDER BY position"))


def positions_of(base: sqlite3.Connection, ids: Sequence[int]) -> dict[int, int]:
    """Where the vectors of those ids lie that this segment has."""
    found: dict[int, int] = {}
    for start in range(0, len(ids), QUERY_IDS):
        some = ids[start : start + QUERY_IDS]
        marks = ",".join("?" * len(some))
        with _readable(base):
            found |= dict(
                base.execute(f"SELECT id, position FROM items WHERE id IN ({marks})", some)
            )
    return found


def positions_where(
    base: sqlite3.Connection, condition: str, columns: dict[str, str], root: str
) -> Ids:
    """Positions of the items for which an SQL condition holds.

    It may read and compare, nothing else. A column that other segments have and this one lacks
    is NULL here. `path` is the whole one.

    Args:
        base: the segment's table.
        condition: what follows WHERE.
        columns: every column of the index beside fgembed's own, with its type.
        root: the folder that the items' paths are relative to.

    Raises:
        FgembedError: it is no condition, names an unknown column, or runs for too long.
    """
    _check_names(condition, columns)
    own = {folded(row[1]) for row in base.execute("PRAGMA table_info(items)")}
    asked = ["id", "position", f"{_text(root.rstrip('/') + '/')} || path AS path", *FACTS]
    for name, kind in columns.items():
        # The plus takes a type's own way to compare from a column that has several.
        plain = "" if kind not in ("ANY", "NULL") else "+"
        value = f"{plain}{quoted(name)}" if folded(name) in own else "NULL"
        asked.append(f"{value} AS {quoted(name)}")
    source = f"(SELECT {', '.join(asked)} FROM items)"
    steps = 0

    def stop() -> int:
        nonlocal steps
        steps += STEPS_A_CHECK
        return int(steps > WHERE_STEPS)

    base.set_authorizer(lambda action, *_: 0 if action in _ALLOWED else 1)
    base.set_progress_handler(stop, STEPS_A_CHECK)
    try:
        found = base.execute(f"SELECT position FROM {source} AS items WHERE (\n{condition}\n)")
        positions = [row[0] for row in found]
        if all(type(one) is int and 0 <= one < LAST for one in positions):
            return np.array(positions, np.int64)
        raise ValueError("it gives what is no picture")
    except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError, ValueError) as error:
        raise FgembedError(_refusal(condition, columns, error)) from None
    finally:
        base.set_authorizer(None)
        base.set_progress_handler(None, 0)


def _check_names(condition: str, columns: dict[str, str]) -> None:
    """What SQLite takes for text if no column is called so is refused."""
    known = {folded(name) for name in [*BUILTIN_COLUMNS, *columns]}
    for name in re.findall(r'"((?:[^"]|"")*)"', re.sub(r"'(?:[^']|'')*'", "''", condition)):
        if folded(name.replace('""', '"')) not in known:
            error = ValueError(f"no such column: {name}; text stands in single quotes")
            raise FgembedError(_refusal(condition, columns, error))


def _text(value: str) -> str:
    """A text as SQL has it."""
    return "'" + value.replace("'", "''") + "'"


def _refusal(condition: str, columns: dict[str, str], error: Exception) -> str:
    what = "interrupted: it takes too long" if "interrupt" in str(error) else str(error)
    own = [name for name in BUILTIN_COLUMNS if name != "position"]
    names = ", ".join([*own, *(name if name.isidentifier() else quoted(name) for name in columns)])
    return f"--where {condition!r} cannot be asked: {what}; the columns are {names}"


def _item(row: tuple[Any, ...]) -> Item:
    number, _, path, sha256, size, mtime_ns, *values = row
    return Item(number, path, sha256, size, mtime_ns, tuple(values))


@contextmanager
def _readable(base: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise IntegrityError(f"a table of items is damaged: {error}") from None
