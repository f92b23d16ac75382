"""Completes a GIF whose last bytes are missing.

Pillow refuses a picture of which a single pixel is missing, and zero bytes do not help: as the
length of a block they end the data.
"""

import struct
from dataclasses import dataclass

from fgembed.images.limits import check_pixels

MAX_BYTES = 1 << 25  # codes are counted one by one
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, b"\0;"
_MAX_CODES = 1 << 12


def completed(content: bytes, missing: float) -> bytes | None:
    """The file up to its first frame, completed; None if more than a share `missing` is not there.

    Raises:
        RefusedError: it is too large to be decoded.
        Exception: the file is damaged before its pixels.
    """
    start = _first_frame(content)
    if start is None or len(content) > MAX_BYTES:
        return None
    width, height, flags = struct.unpack("<HHB", content[start + 5 : start + 10])
    check_pixels(width, height)
    data_start = start + 10 + _table_bytes(flags) + 1
    found = _codes(_joined(content, data_start), content[data_start - 1])
    lacking = width * height - found.pixels
    if lacking > missing * width * height:
        return None
    # A code of zero bits is one pixel of the first colour, whatever stands before it.
    data = found.data + bytes(max(0, lacking) * 3 // 2 + 3)
    blocks = (data[at : at + 255] for at in range(0, len(data), 255))
    packed = b"".join(bytes([len(block)]) + block for block in blocks)
    return content[:data_start] + packed + _END


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _first_frame(content: bytes) -> int | None:
    at = 13 + _table_bytes(content[10])
    while at < len(content) and content[at] == _EXTENSION:
        at += 2
        while content[at]:
            at += 1 + content[at]
        at += 1
    return at if at < len(content) and content[at] == _IMAGE else None


def _joined(content: bytes, at: int) -> bytes:
    """The data of the blocks from `at` on, of which the last may be cut short."""
    blocks = []
    while at < len(content) and content[at]:
        blocks.append(content[at + 1 : at + 1 + content[at]])
        at += 1 + content[at]
    return b"".join(blocks)


@dataclass(frozen=True)
class _Codes:
    """LZW data up to its last whole code, and the number of pixels that it gives."""

    data: bytes
    pixels: int


def _codes(data: bytes, bits: int) -> _Codes:
    clear, end = 1 << bits, (1 << bits) + 1
    lengths = [1] * clear + [0, 0]  # pixels of each code
    size, last, pixels, used, held, buffer = bits + 1, -1, 0, 0, 0, 0
    for byte in data:
        buffer |= byte << held
        held += 8
        while held >= size:
            code = buffer & ((1 << size) - 1)
            if code == end or code > len(lengths) or (code == len(lengths) and last < 0):
                return _Codes(_cut(data, used), pixels)
            buffer, held, used = buffer >> size, held - size, used + size
            if code == clear:
                del lengths[end + 1 :]
                size, last = bits + 1, -1
                continue
            if last >= 0 and len(lengths) < _MAX_CODES:
                lengths.append(lengths[last] + 1)
                size += len(lengths) == 1 << size and size < 12
            pixels += lengths[code]
            last = code
    return _Codes(_cut(data, used), pixels)


def _cut(data: bytes, bits: int) -> bytes:
    """The first `bits` of the data, the lowest of a byte first, and zero bits to fill a byte."""
    whole, rest = divmod(bits, 8)
    return data[:whole] + (bytes([data[whole] & ((1 << rest) - 1)]) if rest else b"")
