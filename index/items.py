"""What belongs to an id: the picture and its metadata, a row of a segment's `items.sqlite`."""

import errno
import json
import math
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.errors import FgembedError, IntegrityError
from fgembed.metrics import Ids

QUERY_IDS = 500  # below the limit on variables of every SQLite build
INDEXED_COLUMNS = 8  # columns that a filter finds without reading every row
STEPS_A_CHECK, WHERE_STEPS = 100_000, 2_000_000_000
OWN_COLUMNS = {
    "id": "INTEGER PRIMARY KEY",
    "position": "INTEGER NOT NULL",
    "path": "TEXT NOT NULL",
    "sha256": "TEXT",
    "size": "INTEGER",
    "mtime_ns": "INTEGER",
}
WHOLE = r"-?(0|[1-9]\d{0,17})"
NUMBER = r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d+)?"
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
    """
    named = OWN_COLUMNS | columns
    marks = ",".join("?" * len(named))
    ids: list[int] = []

    def rows() -> Iterator[tuple[Any, ...]]:
        for position, item in enumerate(items):
            ids.append(item.id)
            facts = (item.path, item.sha256, item.size, item.mtime_ns)
            yield item.id, position, *facts, *item.values

    try:
        with closing(sqlite3.connect(file)) as base, base:
            given = ", ".join(f"{quoted(name)} {kind}" for name, kind in named.items())
            base.execute(f"CREATE TABLE items ({given})")
            base.executemany(f"INSERT INTO items VALUES ({marks})", rows())
            for number, name in enumerate([*columns][:INDEXED_COLUMNS]):
                base.execute(f"CREATE INDEX by_{number} ON items ({quoted(name)}, position)")
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


def positions_where(base: sqlite3.Connection, condition: str, columns: dict[str, str]) -> Ids:
    """Positions of the items for which an SQL condition holds.

    It may read and compare, nothing else. A column that other segments have and this one lacks
    is NULL here.

    Args:
        base: the segment's table.
        condition: what follows WHERE.
        columns: every column of the index beside fgembed's own.

    Raises:
        FgembedError: it is no condition, names an unknown column, or runs for too long.
    """
    own = {row[1] for row in base.execute("PRAGMA table_info(items)")}
    absent = "".join(f", NULL AS {quoted(name)}" for name in columns if name not in own)
    source = f"(SELECT *{absent} FROM items)" if absent else "items"
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


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def sql_columns(names: Iterable[str]) -> dict[str, str]:
    """Given column names as the table's; one that is fgembed's own becomes `given_...`."""
    taken = {name.lower() for name in OWN_COLUMNS}
    renamed: dict[str, str] = {}
    for given in names:
        name = given
        while name.lower() in taken:
            name = f"given_{name}"
        taken.add(name.lower())
        renamed[given] = name
    return renamed


def sql_type(values: Iterable[Any]) -> str:
    """INTEGER or REAL where every value is such a number or text of one, else TEXT.

    Text with a leading zero is no number: it names something.
    """
    kind = "INTEGER"
    known = False
    for value in map(_plain, values):
        if value is None:
            continue
        known = True
        if kind == "INTEGER" and not (isinstance(value, int) or _is_number(value, WHOLE)):
            kind = "REAL"
        if kind == "REAL" and not (isinstance(value, int | float) or _is_number(value, NUMBER)):
            return "TEXT"
    return kind if known else "TEXT"


def sql_value(value: Any, kind: str) -> Any:
    """A value as SQLite keeps it in a column of that type; empty text is NULL."""
    plain = _plain(value)
    if plain is None:
        return None
    return {"INTEGER": int, "REAL": float, "TEXT": str}[kind](plain)


def _is_number(value: Any, pattern: str) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def _plain(value: Any) -> Any:
    """A value that SQLite can keep: numbers and text as they are, all else as text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode() or None
    if isinstance(value, int):  # True is 1
        return int(value) if abs(value) < 1 << 63 else str(value)
    if value is None or isinstance(value, float):
        return None if value is None or math.isnan(value) else value
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _refusal(condition: str, columns: dict[str, str], error: Exception) -> str:
    what = "interrupted: it takes too long" if "interrupt" in str(error) else str(error)
    names = ", ".join([*OWN_COLUMNS, *columns])
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
