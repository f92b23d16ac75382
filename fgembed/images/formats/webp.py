"""WebP by Pillow, checked against the limits here instead of those of the process."""

from io import BytesIO
from typing import BinaryIO

from PIL import Image

from fgembed.images.limits import check_pixels, check_sides

_HEAD_BYTES = 30  # that Pillow asks for, to check the size that they tell
_TOO_FEW_BYTES = 24  # to tell it


class _Unchecked(BytesIO):
    """Gives too few bytes at first, as a stream may, so that Pillow cannot check the size."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(_TOO_FEW_BYTES if size == _HEAD_BYTES else size)


def opened(stream: BinaryIO) -> Image.Image:
    """The image; its canvas is allocated here, so its size is checked before.

    Raises:
        RefusedError: it is too small or too large.
        Exception: whatever Pillow raises for a damaged file.
    """
    from PIL import WebPImagePlugin

    content = stream.read()
    size = WebPImagePlugin._get_size(content[:_HEAD_BYTES])
    if size is not None:
        check_sides(*size)
        check_pixels(*size)
    return WebPImagePlugin.WebPImageFile(_Unchecked(content))
