"""A second attempt at a file that its decoder refuses though the pixels are (nearly) all there.

What lies beside the pixels is dropped, and a missing end is filled. Nothing is lost for a sound
file: it is never read here.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fgembed.images.formats.gif_end import completed
from fgembed.images.limits import MAX_PROFILE_BYTES, check_pixels

MISSING = 0.1  # share of an image that may be missing at its end
MAX_BYTES = 1 << 28  # of a file, and of its unpacked rows: copies of them are held
_JPEG_KEPT = {*range(0xC0, 0xD0), 0xDB, 0xDD}  # frame, tables, restart interval
_JPEG_TOLD = {0xE1: b"Exif\0\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}  # with these first bytes
_PNG_KEPT = {  # and their fewest bytes
    b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"eXIf": 0, b"tRNS": 1,
}  # fmt: skip
_DC, _AC = "DC", "AC"
_ADAM7 = (  # first column and row, and steps, of the passes of an interlaced PNG
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Repaired:
    """A file's content as its decoder takes it.

    Attributes:
        content: the file.
        info: what was taken out and belongs to the image.
    """

    content: bytes
    info: dict[str, Any] = field(default_factory=dict)


def repaired(kind: str, stream: BinaryIO) -> Repaired | None:
    """The file in a form that can be decoded; None if too much is missing.

    Raises:
        RefusedError: it is too large to be decoded.
        Exception: the file is damaged otherwise.
    """
    stream.seek(0)
    content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES or kind in ("RAW", "JXL"):
        return None
    if kind == "JPEG":
        return _jpeg(content)
    if kind == "PNG":
        return _png(content)
    if kind == "GIF":
        whole = completed(content, MISSING)
        return None if whole is None else Repaired(whole)
    return Repaired(content + bytes(int(len(content) * MISSING)))


def lacks_rows(image: Image.Image) -> bool:
    """Whether more than `MISSING` of a JPEG's rows are what libjpeg puts where data end."""
    pixels = np.asarray(image).reshape(image.height, -1).astype(np.int16)
    filled: NDArray[np.bool_] = np.all(np.abs(pixels - 128) <= 1, axis=1)[::-1]
    rows = len(filled) if filled.all() else int(np.argmin(filled))
    return rows > MISSING * image.height


def _jpeg(content: bytes) -> Repaired | None:
    start = content.find(b"\xff\xd8\xff")
    kept, scans = [b"\xff\xd8"], b""
    at = start + 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            at = content.find(b"\xff", at)
            if at < 0:
                return None
            continue
        marker = content[at + 1]
        (length,) = struct.unpack(">H", content[at + 2 : at + 4])
        if marker == 0xDA:
            scans = content[at:]
            break
        if marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD9:
            at += 1
            continue
        end = at + 2 + length
        if content[end : end + 1] != b"\xff":  # a length that lies
            end = content.find(b"\xff\xdb", at + 2)
            if end < 0:
                return None
        elif marker in _JPEG_KEPT or _is_told(marker, content[at + 4 : end]):
            kept.append(content[at:end])
        at = end
    progressive = any(part[1] in (0xC2, 0xCA) for part in kept[1:])
    if not scans or (progressive and not _all_begun(scans)):
        return None
    return Repaired(b"".join(kept) + scans + b"\xff\xd9")


def _is_told(marker: int, body: bytes) -> bool:
    """Whether an application's segment tells something of the picture, in full."""
    first = _JPEG_TOLD.get(marker)
    return first is not None and body.startswith(first) and len(body) >= 12


def _all_begun(scans: bytes) -> bool:
    """Whether the last scan of all coefficients has begun: no more than noise is missing."""
    finest: dict[tuple[int, str], int] = {}
    at = scans.find(b"\xff\xda")
    while at >= 0:
        count = scans[at + 4] if at + 4 < len(scans) else 0
        spectral = scans[at + 5 + 2 * count : at + 8 + 2 * count]
        if len(spectral) < 3:
            break
        first, last, bits = spectral
        for component in scans[at + 5 : at + 5 + 2 * count : 2]:
            if first == 0:
                finest[component, _DC] = bits & 15
            if last == 63:
                finest[component, _AC] = bits & 15
        at = scans.find(b"\xff\xda", at + 2)
    components = {component for component, _ in finest}
    return bool(components) and all(
        finest.get((component, part)) == 0 for component in components for part in (_DC, _AC)
    )


def _png(content: bytes) -> Repaired | None:
    chunks = list(_png_chunks(content))
    if not chunks or chunks[0][0] != b"IHDR":
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1][:13])
    check_pixels(width, height)
    expected = _raw_size(width, height, depth * {2: 3, 4: 2, 6: 4}.get(colour, 1), interlaced)
    packed = b"".join(data for name, data, _ in chunks if name == b"IDAT")
    unpacked = zlib.decompressobj().decompress(packed, min(expected, MAX_BYTES))
    if expected > MAX_BYTES or len(unpacked) < (1 - MISSING) * expected:
        return None
    info: dict[str, Any] = {}
    parts = [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", chunks[0][1][:13])]
    for name, data, sound in chunks:
        if name == b"PLTE" or (sound and len(data) >= _PNG_KEPT.get(name, len(data) + 1)):
            parts.append(_chunk(name, data))
        if sound and name == b"iCCP":
            info["icc_profile"] = _png_profile(data)
    parts.append(_chunk(b"IDAT", zlib.compress(unpacked.ljust(expected, b"\0"), 1)))
    return Repaired(b"".join([*parts, _chunk(b"IEND", b"")]), info)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Name, data and whether the checksum is right; the last one may be cut short."""
    at = 8
    while at + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        data = content[at + 8 : at + 8 + length]
        checksum = content[at + 8 + length : at + 12 + length]
        yield name, data, checksum == struct.pack(">I", zlib.crc32(name + data))
        at += 12 + length


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_profile(data: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(data.split(b"\0", 1)[1][1:], MAX_PROFILE_BYTES)
    except (zlib.error, IndexError):
        return None


def _raw_size(width: int, height: int, bits: int, interlaced: int) -> int:
    """Bytes of all rows with their filter bytes, unpacked."""

    def rows(columns: int, lines: int) -> int:
        return lines * (1 + (columns * bits + 7) // 8) if columns and lines else 0

    if not interlaced:
        return rows(width, height)
    return sum(
        rows((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, y, dx, dy in _ADAM7
    )
