"""Parquet files need pyarrow, which only some installations have."""

from typing import Any

from fgembed.errors import MissingExtraError


def require_pyarrow(purpose: str) -> None:
    """Refuses work that needs pyarrow where it is not installed.

    Args:
        purpose: what needs it, as the subject of the message.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError(purpose, "pyarrow", "scale") from None


def values_of(column: Any) -> list[Any]:
    """The values of an Arrow column; one that Python cannot hold, such as a far date, is None."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_value_or_none(scalar) for scalar in column]


def _value_or_none(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return None


def arrow_array(values: list[Any], kind: Any = None) -> Any:
    """The values as an Arrow array; as text if no Arrow type holds them all.

    Args:
        values: of any types.
        kind: the Arrow type; None takes the one that fits the values.
    """
    import pyarrow

    try:
        return pyarrow.array(values, kind)
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        texts = [None if value is None else str(value) for value in values]
        return pyarrow.array(texts, pyarrow.string())
