"""The metadata columns: names and types in SQLite, the same before and after segments are merged.

A number stays a number. A column has the type of its values if they share one: `INTEGER`, `REAL`
or `TEXT`. `NUMERIC` holds both kinds of numbers, `ANY` numbers and text, `NULL` no value at all.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from fgembed.errors import FgembedError

TEXT_LIMIT = 10_000_000  # bytes of a text that a condition may make; a row has half of it
MAX_COLUMNS = 1000  # below the limit of every SQLite build
NUMBERS = frozenset({"INTEGER", "REAL", "NUMERIC"})
INTEGER = r"-?(0|[1-9]\d{0,17})"
NUMBER = r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d+)?"


def quoted(name: str) -> str:
    """Any name as a quoted identifier of SQL.

    Example:
        >>> print(quoted('the "type" of it'))
        "the ""type"" of it"
    """
    return '"' + name.replace('"', '""') + '"'


def folded(name: str) -> str:
    """A name as SQLite compares names: only ASCII letters have two cases.

    Example:
        >>> folded("ÄRA")
        'Ära'
    """
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def sql_columns(names: Iterable[str], reserved: Iterable[str]) -> dict[str, str]:
    """The table's name for each imported column; one that is reserved or taken gets `given_`.

    Raises:
        FgembedError: there are too many columns, or a name holds control characters.

    Example:
        >>> sql_columns(["id", "label"], ["id", "path"])
        {'id': 'given_id', 'label': 'label'}
    """
    taken = {folded(name) for name in reserved}
    renamed: dict[str, str] = {}
    for imported in names:
        if not imported.isprintable():
            raise FgembedError(f"a column is called {imported!r}", "name it in plain letters")
        name = imported
        while folded(name) in taken:
            name = f"given_{name}"
        taken.add(folded(name))
        renamed[imported] = name
    if len(renamed) > MAX_COLUMNS:
        raise FgembedError(
            f"{len(renamed)} columns of metadata, expected {MAX_COLUMNS} at most",
            "leave out those that no search needs",
        )
    return renamed


def merged_columns(tables: Iterable[dict[str, str]]) -> dict[str, str]:
    """All columns of several tables, with types that hold all values, in their first spelling.

    Example:
        >>> merged_columns([{"Year": "INTEGER"}, {"year": "REAL"}])
        {'Year': 'NUMERIC'}
    """
    spelt: dict[str, str] = {}
    kinds: dict[str, set[str]] = {}
    for columns in tables:
        for name, kind in columns.items():
            spelt.setdefault(folded(name), name)
            kinds.setdefault(folded(name), set()).add(kind)
    return {spelt[key]: _merged(kinds[key]) for key in spelt}


def _merged(kinds: set[str]) -> str:
    kinds = kinds - {"NULL"}
    if len(kinds) <= 1:
        return next(iter(kinds), "NULL")
    return "NUMERIC" if kinds <= NUMBERS else "ANY"


def declared(kind: str) -> str:
    """The type as a table declares it; a BLOB column of SQLite changes no value."""
    return "BLOB" if kind in ("ANY", "NULL") else kind


def sql_type(values: Iterable[Any]) -> str:
    """INTEGER or REAL if every value is such a number or the text of one, else TEXT.

    Text with a leading zero is no number but a name.

    Example:
        >>> sql_type(["1", 2]), sql_type(["1", "2.5"]), sql_type(["007"])
        ('INTEGER', 'REAL', 'TEXT')
    """
    kind = "NULL"
    for value in map(_plain, values):
        if value is None:
            continue
        kind = "INTEGER" if kind == "NULL" else kind
        if kind == "INTEGER" and not (isinstance(value, int) or _is_number(value, INTEGER)):
            kind = "REAL"
        if kind == "REAL" and not (isinstance(value, int | float) or _is_number(value, NUMBER)):
            return "TEXT"
    return kind


def sql_kind(values: Iterable[Any]) -> str:
    """The type that holds values as they come from SQLite; no text is read as a number."""
    names = {int: "INTEGER", float: "REAL", str: "TEXT"}
    return _merged({names[type(value)] for value in values if value is not None})


def sql_value(value: Any, kind: str) -> Any:
    """A value as SQLite stores it in a column of that type; empty text is NULL."""
    plain = _plain(value)
    if plain is None:
        return None
    return {"INTEGER": int, "REAL": float, "TEXT": str}[kind](plain)


def check_row(values: Sequence[Any], name: str) -> None:
    """Refuses an image's metadata that would be too large for a table.

    Args:
        values: of its metadata columns.
        name: of the image, for the message.

    Raises:
        FgembedError: it is too large.
    """
    texts = [value for value in values if isinstance(value, str)]
    if sum(map(len, texts)) > TEXT_LIMIT // 8:  # else it is small in any letters
        if sum(len(text.encode()) for text in texts) > TEXT_LIMIT // 2:
            raise too_large(name)


def too_large(name: str) -> FgembedError:
    """The error about metadata that a table cannot hold."""
    return FgembedError(
        f"the metadata of {name} takes more than {TEXT_LIMIT // 2} bytes",
        "leave out its longest values",
    )


def in_arrow(values: Sequence[Any], kind: str) -> Any:
    """A column as an Arrow array, whose type depends on `kind` alone and not on the values.

    Numbers in a column with text become text; bytes that are not Unicode become escapes.
    """
    import pyarrow

    types = {"INTEGER": pyarrow.int64(), "REAL": pyarrow.float64(), "NUMERIC": pyarrow.float64()}
    if types.get(kind) == pyarrow.float64():  # pyarrow refuses large integers for it
        values = [None if value is None else float(value) for value in values]
    if kind in types:
        return pyarrow.array(values, types[kind])
    texts = [
        None if value is None else str(value).encode("utf-8", "backslashreplace").decode()
        for value in values
    ]
    return pyarrow.array(texts, pyarrow.string())


def _is_number(value: Any, pattern: str) -> bool:
    return (
        isinstance(value, str)
        and re.fullmatch(pattern, value, re.ASCII) is not None
        and math.isfinite(float(value))
    )


def _plain(value: Any) -> Any:
    """A value that SQLite can store: numbers and text unchanged, all other types as text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode() or None
    if isinstance(value, int):  # True is 1
        return int(value) if abs(value) < 1 << 63 else str(value)
    if value is None or isinstance(value, float):
        return value if value is not None and math.isfinite(value) else None
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
