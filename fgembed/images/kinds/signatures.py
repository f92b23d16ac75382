"""What the first bytes of a file say, for files whose name does not say it."""

import os
import re
from io import BytesIO
from pathlib import Path

from fgembed.images.formats.signatures import kind_of
from fgembed.images.kinds.formats import NOT_READ, READ

HEAD_BYTES = 128
_READ = {
    "JPEG": "JPEG", "PNG": "PNG", "GIF": "GIF", "WEBP": "WebP", "BMP": "BMP", "TIFF": "TIFF",
    "HEIF": "HEIC", "AVIF": "AVIF", "JXL": "JPEG XL", "RAW": "camera raw",
}  # fmt: skip
# The decoder asks for less: it is given files that are named like images.
_BITMAP = re.compile(rb"BM.{4}\0{4}..\0\0[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)
_NOT_READ = (
    (rb"8BPS\0[\1\2]", "Photoshop"),
    (rb"gimp xcf", "GIMP"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"II\xbc[\0\1]", "JPEG XR"),
    (rb"v/1\x01", "OpenEXR"),
    (rb"#\?R(ADIANCE|GBE)", "Radiance HDR"),
    (rb"DDS \x7c", "DDS"),
    (rb"BPG\xfb", "BPG"),
    (rb"FLIF[\x31-\x6f]", "FLIF"),
    (rb"qoif", "QOI"),
    (rb"%!PS-Adobe-\d\.\d EPSF", "EPS"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg[\s>]", "SVG"),
    (rb"SIMPLE  =  ", "FITS"),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in _NOT_READ)
# fgembed's contact sheets and plots say so in a text chunk before their pixels.
_FGEMBED_PNG = b"Software\0fgembed"


def format_of(head: bytes) -> str | None:
    r"""The image format that a file begins like, by its name in `READ` or `NOT_READ`.

    Args:
        head: the first `HEAD_BYTES` of the file.

    Example:
        >>> format_of(b"GIF89a\x20\x00"), format_of(b"a list of things")
        ('GIF', None)
    """
    kind = kind_of(BytesIO(head))
    if kind is not None and (kind != "BMP" or _BITMAP.match(head)):
        return _READ[kind]
    return next((name for pattern, name in _PATTERNS if pattern.match(head)), None)


def is_read(format_: str | None) -> bool:
    """Whether a format that `format_of` gave is read."""
    assert format_ is None or format_ in READ or format_ in NOT_READ  # invariant
    return format_ in READ


def is_fgembed_png(head: bytes) -> bool:
    """Whether a PNG is a contact sheet or a plot that fgembed wrote."""
    return _FGEMBED_PNG in head


def read_head(path: Path | str) -> bytes:
    """The first `HEAD_BYTES` of a file.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait
    try:
        return os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)
