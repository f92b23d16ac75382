"""The format of an image by its first bytes. Names are not asked: many are wrong."""

import struct
from typing import BinaryIO

from fgembed.images.formats import tiff_tags
from fgembed.images.formats.tiff_tags import PHOTOMETRIC

HEAD_BYTES = 64
_BLANKS = b"\0\t\n\r \xef\xbb\xbf"
_FIRST_BYTES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\xff\x0a": "JXL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JXL",
    # Camera raw: Fujifilm, Olympus, Panasonic, Canon's first, Minolta, Sigma.
    b"FUJIFILMCCD-RAW": "RAW",
    b"IIRO": "RAW",
    b"IIRS": "RAW",
    b"MMOR": "RAW",
    b"IIU\0": "RAW",
    b"II\x1a\0\0\0HEAPCCDR": "RAW",
    b"\0MRM": "RAW",
    b"FOVb": "RAW",
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_COMMON_BRANDS = {b"mif1", b"msf1", b"mif2", b"miaf"}
_SENSOR_DATA = {32803, 34892}  # photometric: colour filter array, linear raw


def kind_of(stream: BinaryIO) -> str | None:
    """JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, HEIF, JXL or RAW; None if it is none of these."""
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    try:
        if head.startswith(tiff_tags.SIGNATURES):
            return "RAW" if _is_raw(stream, head) else "TIFF"
    finally:
        stream.seek(0)
    if head.lstrip(_BLANKS).startswith(b"\xff\xd8\xff"):  # some downloads begin with empty lines
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _kind_of_box(head)
    return next((kind for first, kind in _FIRST_BYTES.items() if head.startswith(first)), None)


def _kind_of_box(head: bytes) -> str | None:
    """Of an ISO base media file: its main brand decides, or else the compatible ones."""
    (length,) = struct.unpack(">I", head[:4])
    compatible = head[16 : min(length, HEAD_BYTES)]
    brands = [head[8:12], *(compatible[at : at + 4] for at in range(0, len(compatible), 4))]
    for brand in brands:
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in _HEIF_BRANDS:
            return "HEIF"
        if brand == b"crx ":
            return "RAW"
    return "HEIF" if brands[0] in _COMMON_BRANDS else None


def _is_raw(stream: BinaryIO, head: bytes) -> bool:
    """Whether a TIFF holds what a sensor has measured; its first page is then a preview."""
    if head[8:10] == b"CR" or head[8:12] == b"IIII":  # Canon, Phase One
        return True
    return any(
        tiff_tags.DNG_VERSION in page or not _SENSOR_DATA.isdisjoint(page.get(PHOTOMETRIC, [])[:1])
        for page in tiff_tags.pages(stream)
    )
