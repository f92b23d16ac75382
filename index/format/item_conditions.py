"""Conditions on the items of a segment, as SQL that may read and compare, no more."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np

from fgembed.embedding.array_types import Ids
from fgembed.errors import FgembedError
from fgembed.index.format.metadata_columns import folded, quoted
from fgembed.index.format.metadata_table import BUILTIN_COLUMNS, readable
from fgembed.text import composed

WHERE_STEPS = 2_000_000_000  # of SQLite's machine, that a condition may take
CHECK_STEPS = 100_000  # between two checks of `WHERE_STEPS`
UNSEEN_COLUMNS = ("position", "ctime_ns")  # no condition names them; earlier tables lack ctime_ns
FILE_COLUMNS = ("sha256", "size", "mtime_ns")
POSITION_LIMIT = 1 << 40  # positions are below it
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION})


def positions_where(
    connection: sqlite3.Connection, condition: str, columns: dict[str, str], root: str
) -> Ids:
    """Positions of the items that meet an SQL condition (N,), in no order.

    The condition may read and compare, no more. A column that only other segments have is NULL
    in this one. `path` is the absolute path. Letters that look the same are the same, composed
    or not.

    Args:
        connection: to the segment's table.
        condition: the expression after WHERE.
        columns: every metadata column of the index, with its type.
        root: the folder that the items' paths are relative to.

    Raises:
        FgembedError: it is no condition, names an unknown column, or runs for too long.
    """
    _check_names(condition, columns)
    alike = not condition.isascii()
    condition = composed(condition)
    source = _source(connection, columns, root, alike)
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


def _source(connection: sqlite3.Connection, columns: dict[str, str], root: str, alike: bool) -> str:
    """The table that a condition sees: absolute paths, and every column of the index.

    With `alike` all text is composed, which no index of a column serves.
    """
    if alike:
        connection.create_function(
            "composed", 1, lambda v: composed(v) if isinstance(v, str) else v, deterministic=True
        )
    with readable():
        existing = {folded(row[1]) for row in connection.execute("PRAGMA table_info(items)")}
    path = f"{_text(root.rstrip('/') + '/')} || path"
    path = f"composed({path})" if alike else path
    selected = ["id", "position", f"{path} AS path", *FILE_COLUMNS]
    for name, kind in columns.items():
        # A plus removes the type's rule of comparison, for a column of several types.
        plus = "+" if kind in ("ANY", "NULL") else ""
        value = f"{plus}{quoted(name)}" if folded(name) in existing else "NULL"
        if alike and kind in ("TEXT", "ANY"):
            value = f"composed({value})"
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
    names = [name for name in BUILTIN_COLUMNS if name not in UNSEEN_COLUMNS]
    existing = {folded(name) for name in [*names, *columns]}
    for name in re.findall(r'"((?:[^"]|"")*)"', re.sub(r"'(?:[^']|'')*'", "''", condition)):
        if folded(name.replace('""', '"')) not in existing:
            error = ValueError(f"no such column: {name}; text stands in single quotes")
            raise _refusal(condition, columns, error)


def _text(value: str) -> str:
    """A text as a literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _refusal(condition: str, columns: dict[str, str], error: Exception) -> FgembedError:
    reason = "interrupted: it takes too long" if "interrupt" in str(error) else str(error)
    names = [name for name in BUILTIN_COLUMNS if name not in UNSEEN_COLUMNS]
    names += [name if name.isidentifier() else quoted(name) for name in columns]
    return FgembedError(
        f"--where {condition!r} cannot be evaluated: {reason}",
        f"give a condition on the columns {', '.join(names)}",
    )
