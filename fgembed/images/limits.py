"""How small and how large an image may be, and what is no limit of the image but of the system."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MIN_SIDE = 16
# Decoded, after a JPEG's reduction. 1.2 GB of memory; a telephone has 200 million, a scanner 300.
MAX_PIXELS = 300_000_000
LIMIT_VARIABLE = "FGEMBED_MAX_PIXELS"
MAX_PROFILE_BYTES = 1 << 22  # of an ICC profile; those of printers have 2 MB
LARGE_PIXELS = 64_000_000
_LARGE_ONE_BY_ONE = threading.Lock()
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


class RefusedError(ValueError):
    """An image is refused for what it is; no repair would help."""


def max_pixels() -> int:
    """The largest number of pixels that is decoded.

    Raises:
        RefusedError: the environment variable that raises it holds no whole number.
    """
    given = os.environ.get(LIMIT_VARIABLE, "")
    if given and not (given.isascii() and given.isdigit()):
        raise RefusedError(f"{LIMIT_VARIABLE} is {given!r}, expected a number of pixels")
    return int(given) if given else MAX_PIXELS


def check_sides(width: int, height: int) -> None:
    """Refuses an image that shows nothing.

    Raises:
        RefusedError: a side is too small.
    """
    if min(width, height) < MIN_SIDE:
        raise RefusedError(
            f"{width} x {height} px is under {MIN_SIDE} px a side; give it in a larger size"
        )


def check_pixels(width: int, height: int) -> None:
    """Refuses an image that would take too much memory.

    Raises:
        RefusedError: saying how to raise the limit.
    """
    limit, pixels = max_pixels(), width * height
    if pixels > limit:
        raise RefusedError(
            f"{width} x {height} px exceeds limit of {limit:,} pixels; with "
            f"{4 * pixels / 1e9:.1f} GB of free memory, set {LIMIT_VARIABLE}={pixels}"
        )


@contextmanager
def room_for(width: int, height: int) -> Iterator[None]:
    """Lets large images be decoded one by one, so that threads do not multiply their memory."""
    if width * height < LARGE_PIXELS:
        yield
        return
    with _LARGE_ONE_BY_ONE:
        yield


def raise_if_out_of_files(error: BaseException) -> None:
    """Raises an error that is none of the file that could not be opened.

    Raises:
        OSError: too many files are open.
    """
    if isinstance(error, OSError) and error.errno in OUT_OF_FILES:
        raise error
