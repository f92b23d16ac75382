"""The columns of items: their names and types in SQLite, alike however segments are merged.

A value that was a number stays one. So a column has the type of its values, where they have one:
`INTEGER`, `REAL` or `TEXT`; `NUMERIC` holds both kinds of numbers, `ANY` numbers and text, `NULL`
nothing.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from fgembed.errors import FgembedError

MOST_COLUMNS = 1000  # below the limit of every SQLite build
NUMBERS = {"INTEGER", "REAL", "NUMERIC"}
WHOLE = r"-?(0|[1-9]\d{0,17})"
NUMBER = r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d+)?"


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def folded(name: str) -> str:
    """A name as SQLite compares names: it knows the two cases of ASCII's letters alone."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def sql_columns(names: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """Given column names as the table's; one that is fgembed's `own` becomes `given_...`.

    Raises:
        FgembedError: there are too many, or one holds what no name should.
    """
    taken = {folded(name) for name in own}
    renamed: dict[str, str] = {}
    for given in names:
        if not given.isprintable():
            raise FgembedError(f"a column is called {given!r}", "name it in plain letters")
        name = given
        while folded(name) in taken:
            name = f"given_{name}"
        taken.add(folded(name))
        renamed[given] = name
    if len(renamed) > MOST_COLUMNS:
        raise FgembedError(f"{len(renamed)} columns of metadata", f"an index keeps {MOST_COLUMNS}")
    return renamed


def merged_columns(given: Iterable[dict[str, str]]) -> dict[str, str]:
    """All columns with the types that hold their values, each as it is spelt first."""
    spelt: dict[str, str] = {}
    kinds: dict[str, set[str]] = {}
    for columns in given:
        for name, kind in columns.items():
            spelt.setdefault(folded(name), name)
            kinds.setdefault(folded(name), set()).add(kind)
    return {spelt[key]: _merged(kinds[key]) for key in spelt}


def _merged(kinds: set[str]) -> str:
    known = kinds - {"NULL"}
    if len(known) <= 1:
        return next(iter(known), "NULL")
    return "NUMERIC" if known <= NUMBERS else "ANY"


def declared(kind: str) -> str:
    """The type as a table declares it; BLOB is SQLite's word for any value as it is."""
    return "BLOB" if kind in ("ANY", "NULL") else kind


def sql_type(values: Iterable[Any]) -> str:
    """INTEGER or REAL where every value is such a number or text of one, else TEXT.

    Text with a leading zero is no number: it names something.
    """
    kind = "NULL"
    for value in map(_plain, values):
        if value is None:
            continue
        kind = "INTEGER" if kind == "NULL" else kind
        if kind == "INTEGER" and not (isinstance(value, int) or _is_number(value, WHOLE)):
            kind = "REAL"
        if kind == "REAL" and not (isinstance(value, int | float) or _is_number(value, NUMBER)):
            return "TEXT"
    return kind


def sql_kind(values: Iterable[Any]) -> str:
    """The type that holds values as SQLite gives them, none of them read as a number."""
    names = {int: "INTEGER", float: "REAL", str: "TEXT"}
    return _merged({names[type(value)] for value in values if value is not None})


def sql_value(value: Any, kind: str) -> Any:
    """A value as SQLite keeps it in a column of that type; empty text is NULL."""
    plain = _plain(value)
    if plain is None:
        return None
    return {"INTEGER": int, "REAL": float, "TEXT": str}[kind](plain)


def in_arrow(values: Sequence[Any], kind: str) -> Any:
    """Values of a column for Parquet, of one type whichever of them are there.

    Numbers beside text become text; what is not Unicode is spelt out.
    """
    import pyarrow

    types = {"INTEGER": pyarrow.int64(), "REAL": pyarrow.float64(), "NUMERIC": pyarrow.float64()}
    if types.get(kind) == pyarrow.float64():  # which pyarrow refuses large whole numbers for
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
    """A value that SQLite can keep: numbers and text as they are, all else as text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode() or None
    if isinstance(value, int):  # True is 1
        return int(value) if abs(value) < 1 << 63 else str(value)
    if value is None or isinstance(value, float):
        return value if value is not None and math.isfinite(value) else None
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
