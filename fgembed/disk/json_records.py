"""JSON objects as dataclasses: every key and type is checked, a damaged file is refused.

Written by hand because every search reads such files, and importing pydantic takes 0.1 s.
"""

from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


def record(kind: type[Record], value: Any) -> Record:
    """The object `value` as the dataclass `kind`, whose fields it must match in name and type.

    Fields may be `str`, `int`, `float` (which accepts an integer), `Any`, `Literal`, dataclasses,
    lists, fixed-length tuples and dicts with text keys of these, and `... | None`.

    Raises:
        ValueError: a key is unknown, missing or of another type; the message names the first one.

    Example:
        >>> from dataclasses import make_dataclass
        >>> Size = make_dataclass("Size", [("width", int), ("height", int)])
        >>> record(Size, {"width": 640, "height": 480})
        Size(width=640, height=480)
        >>> record(Size, {"width": 640, "height": "480"})
        Traceback (most recent call last):
            ...
        ValueError: 'height' is '480', expected int
    """
    fields = get_type_hints(kind)
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {value!r}")
    for name in sorted(value.keys() ^ fields.keys()):
        raise ValueError(f"{'missing' if name in fields else 'unknown'} key {name!r}")
    return kind(**{name: _checked(fields[name], value[name], name) for name in value})


def _checked(kind: Any, value: Any, key: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any or (origin is Literal and value in parts):
        return value
    if is_dataclass(kind) and isinstance(kind, type):
        return record(kind, value)
    if origin is list and isinstance(value, list):
        return [_checked(parts[0], item, key) for item in value]
    if origin is tuple and isinstance(value, list) and len(value) == len(parts):
        return tuple(_checked(part, item, key) for part, item in zip(parts, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {name: _checked(parts[1], item, f"{key}.{name}") for name, item in value.items()}
    if origin is UnionType and type(None) in parts:
        return None if value is None else _checked(parts[0], value, key)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind:
        return value
    expected = kind.__name__ if isinstance(kind, type) and not parts else kind
    raise ValueError(f"{key!r} is {value!r}, expected {expected}")
