"""The decoders that are no part of Pillow."""

from importlib import import_module
from typing import Any

from fgembed.images.limits import RefusedError


def decoder(module: str, purpose: str, package: str = "fgembed[formats]") -> Any:
    """The module of a decoder.

    Args:
        module: its name.
        purpose: the format that needs it.
        package: what installs it.

    Raises:
        RefusedError: it is not installed, or does not load.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise RefusedError(f"{purpose} needs \"pip install '{package}'\"") from None
    except Exception as error:  # a shared library that is missing or of another system
        raise RefusedError(
            f"{purpose} cannot be decoded, for {module} does not load ({error}); install it again "
            f"with \"pip install --force-reinstall '{package}'\""
        ) from None
