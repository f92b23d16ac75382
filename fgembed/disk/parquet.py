"""Parquet files need pyarrow, which only some installations have."""

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
