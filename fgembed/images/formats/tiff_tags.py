"""The few tags of a TIFF's pages that tell what camera raw holds, read without decoding."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

DNG_VERSION, SUB_IFDS, PHOTOMETRIC, CFA_PATTERN = 50706, 330, 262, 33422
BIG = (b"II+\0", b"MM\0+")
SIGNATURES = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", *BIG)
_WANTED = {DNG_VERSION, SUB_IFDS, PHOTOMETRIC, CFA_PATTERN}
_WIDTHS = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4}  # bytes of one number, by the tag's type
_CODES = {1: "B", 2: "H", 4: "I"}
_MAX_TAGS, _MAX_NUMBERS, _MAX_PAGES = 512, 16, 8

Tags = dict[int, list[int]]


def pages(stream: BinaryIO) -> Iterator[Tags]:
    """The first page's tags, then those of its sub-pages; of BigTIFF, which no camera writes, none.

    A tag whose numbers lie outside the file, or are none, has an empty list.
    """
    stream.seek(0)
    head = stream.read(8)
    if len(head) < 8 or not head.startswith(SIGNATURES) or head.startswith(BIG):
        return
    order = "<" if head[:2] == b"II" else ">"
    first = _tags(stream, order, struct.unpack(order + "I", head[4:])[0])
    yield first
    for offset in first.get(SUB_IFDS, [])[:_MAX_PAGES]:
        yield _tags(stream, order, offset)


def _tags(stream: BinaryIO, order: str, offset: int) -> Tags:
    stream.seek(offset)
    count = stream.read(2)
    if len(count) < 2:
        return {}
    table = stream.read(12 * min(struct.unpack(order + "H", count)[0], _MAX_TAGS))
    entries = (table[at : at + 12] for at in range(0, len(table) - 11, 12))
    return {
        tag: _numbers(stream, order, kind, number, data)
        for tag, kind, number, data in (struct.unpack(order + "HHI4s", each) for each in entries)
        if tag in _WANTED
    }


def _numbers(stream: BinaryIO, order: str, kind: int, number: int, data: bytes) -> list[int]:
    """The first numbers of a tag, which stand in its entry or where the entry points to."""
    width, number = _WIDTHS.get(kind, 1), min(number, _MAX_NUMBERS)
    if number * width > 4:
        stream.seek(struct.unpack(order + "I", data)[0])
        data = stream.read(number * width)
    if len(data) < number * width:
        return []
    return list(struct.unpack(f"{order}{number}{_CODES[width]}", data[: number * width]))
