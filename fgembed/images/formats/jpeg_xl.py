"""JPEG XL by pillow_jxl, which decodes when it opens: so its size is read here before."""

import struct
from io import BytesIO
from typing import BinaryIO, cast

from PIL import Image

from fgembed.images.formats.extras import needed_for
from fgembed.images.limits import check_pixels, check_sides

MARK = b"\xff\x0a"  # of a codestream
_SIZE_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def opened(stream: BinaryIO) -> Image.Image:
    """The image, upright: its codestream tells how it is turned, and the decoder turns it.

    Raises:
        RefusedError: the extra `formats` is missing, or the image is too small or too large.
        ValueError: it is damaged.
    """
    with needed_for("JPEG XL"):
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    content = stream.read()
    width, height = size_of(content)
    check_sides(width, height)
    check_pixels(width, height)
    try:
        image = cast(Image.Image, JXLImageFile(BytesIO(content)))
    except RuntimeError:  # its message is one for developers of the decoder
        raise ValueError("damaged JPEG XL") from None
    if not getattr(image, "jpeg", False):  # a JPEG inside is not turned
        image.info.pop("exif", None)
    return image


def size_of(content: bytes) -> tuple[int, int]:
    """Width and height by the head of the codestream (ISO/IEC 18181-1, SizeHeader).

    Raises:
        ValueError: there is no such head.
    """
    start = _codestream(content)
    head = content[start + 2 : start + 14]
    if content[start : start + 2] != MARK or len(head) < 2:
        raise ValueError("damaged JPEG XL: no codestream")
    bits = _Bits(int.from_bytes(head, "little"))
    in_eights = bits.take(1)
    height = _side(bits, in_eights)
    ratio = bits.take(3)
    if ratio == 0:
        return _side(bits, in_eights), height
    numerator, denominator = _RATIOS[ratio - 1]
    return height * numerator // denominator, height


class _Bits:
    """Bits of a number, the lowest first."""

    def __init__(self, number: int) -> None:
        self.number = number

    def take(self, count: int) -> int:
        value = self.number & ((1 << count) - 1)
        self.number >>= count
        return value


def _side(bits: _Bits, in_eights: int) -> int:
    if in_eights:
        return 8 * (bits.take(5) + 1)
    return bits.take(_SIZE_BITS[bits.take(2)]) + 1


def _codestream(content: bytes) -> int:
    """Where the codestream starts: at once, or in the first box `jxlc` or `jxlp`."""
    if content[:2] == MARK:
        return 0
    at = 0
    while at + 16 <= len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        head = 8
        if length == 1:
            (length,) = struct.unpack(">Q", content[at + 8 : at + 16])
            head = 16
        if name in (b"jxlc", b"jxlp"):
            return at + head + (4 if name == b"jxlp" else 0)
        if length < head:
            break
        at += length
    raise ValueError("damaged JPEG XL: no codestream")
