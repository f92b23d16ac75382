"""The decoders that are no part of Pillow."""

from collections.abc import Iterator
from contextlib import contextmanager

from fgembed.images.limits import RefusedError


@contextmanager
def needed_for(purpose: str, package: str = "fgembed[formats]") -> Iterator[None]:
    """Around the import of a decoder.

    Args:
        purpose: the format that needs it.
        package: what installs it.

    Raises:
        RefusedError: it is not installed, or does not load.
    """
    try:
        yield
    except ModuleNotFoundError:
        raise RefusedError(f"{purpose} needs \"pip install '{package}'\"") from None
    except Exception as error:  # a shared library that is missing or of another system
        raise RefusedError(
            f"{purpose} cannot be decoded, for its decoder does not load ({error}); install it "
            f"again with \"pip install --force-reinstall '{package}'\""
        ) from None
