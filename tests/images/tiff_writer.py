"""Writes TIFF files of any layout, page by page; nothing is checked, so that wrong ones exist."""

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

SHORT, LONG, LONG8, UNDEFINED = 3, 4, 16, 7
_CODES = {SHORT: "H", LONG: "I", LONG8: "Q"}


def tiff(
    pixels: np.ndarray,
    photometric: int = 1,
    *,
    bits: int | None = None,
    planes: int = 1,
    sample_format: int = 1,
    extra: Sequence[int] = (),
    order: str = "<",
    big: bool = False,
    tile: int | None = None,
    rows: int = 7,
    deflated: bool = False,
    tags: Mapping[int, Any] | None = None,
    data: bytes | None = None,
    base: int = 0,
) -> bytes:
    """A page of `pixels` (H, W) or (H, W, C) of whole or floating-point numbers.

    Args:
        pixels: the samples; of 12, 4, 2 or 1 bits they are packed.
        photometric: tag 262.
        bits: a sample; those of the array's type by default.
        planes: 1 for samples that stand together, 2 for planes.
        sample_format: tag 339.
        extra: tag 338.
        order: `<` or `>`.
        big: BigTIFF.
        tile: the side of tiles, instead of strips.
        rows: of a strip.
        deflated: compressed by zlib.
        tags: further tags, or None to leave one out.
        data: the only block, instead of the samples.
        base: where the result will stand in a file.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    height, width, channels = pixels.shape
    depth = bits or 8 * pixels.dtype.itemsize
    layers = [pixels[..., [c]] for c in range(channels)] if planes == 2 else [pixels]
    side_y, side_x = (tile, tile) if tile else (rows, width)
    blocks = [
        _packed(_block(layer, y, x, side_y, side_x, bool(tile)), depth, order)
        for layer in layers
        for y in range(0, height, side_y)
        for x in range(0, width, side_x)
    ]
    if data is not None:
        blocks = [data]
    if deflated:
        blocks = [zlib.compress(block) for block in blocks]
    entries: dict[int, Any] = {
        256: width,
        257: height,
        258: [depth] * channels,
        259: 8 if deflated else 1,
        262: photometric,
        277: channels,
        284: planes,
        339: [sample_format] * channels,
    }
    if extra:
        entries[338] = list(extra)
    if tile:
        entries |= {322: tile, 323: tile}
    else:
        entries[278] = rows
    entries |= tags or {}
    return _file(entries, blocks, (324, 325) if tile else (273, 279), order, big, base)


def with_sub_page(page: Callable[[int], bytes], sub_page: Callable[[int], bytes]) -> bytes:
    """A file of a page and, behind its tag 330, another.

    Args:
        page: gives the page for a value of tag 330.
        sub_page: gives the other page for its place in the file.
    """
    place = len(page(1 << 30)) + len(page(1 << 30)) % 2
    other = sub_page(place)
    return page(struct.unpack("<I", other[4:8])[0]).ljust(place, b"\0") + other


def _block(layer: np.ndarray, y: int, x: int, height: int, width: int, padded: bool) -> np.ndarray:
    block = layer[y : y + height, x : x + width]
    if not padded:
        return block
    missing = ((0, height - block.shape[0]), (0, width - block.shape[1]), (0, 0))
    return np.pad(block, missing)


def _packed(block: np.ndarray, bits: int, order: str) -> bytes:
    if bits % 8 == 0:
        return block.astype(block.dtype.newbyteorder(cast(Any, order))).tobytes()
    rows = block.reshape(block.shape[0], -1).astype(np.uint32)
    unpacked = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(unpacked.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def _file(
    entries: dict[int, Any],
    blocks: Sequence[bytes],
    block_tags: tuple[int, int],
    order: str,
    big: bool,
    base: int,
) -> bytes:
    pointer, code = (LONG8, "Q") if big else (LONG, "I")
    mark = b"II" if order == "<" else b"MM"
    head = (
        mark + struct.pack(order + "HHH", 43, 8, 0) if big else mark + struct.pack(order + "H", 42)
    )
    first = len(head) + struct.calcsize(order + code)
    offsets = [base + first + sum(map(len, blocks[:number])) for number in range(len(blocks))]
    body = b"".join(blocks)
    body += bytes(-(first + len(body)) % 8)
    entries = entries | {block_tags[0]: offsets, block_tags[1]: [len(block) for block in blocks]}
    table = {tag: value for tag, value in sorted(entries.items()) if value is not None}
    start = first + len(body)
    size = (8 + 20 * len(table) + 8) if big else (2 + 12 * len(table) + 4)
    values, lines = b"", b""
    for tag, value in table.items():
        kind, number, data = _encoded(value, tag in block_tags, pointer, order)
        lines += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, number)
        if len(data) <= struct.calcsize(code):
            lines += data.ljust(struct.calcsize(code), b"\0")
        else:
            lines += struct.pack(order + code, base + start + size + len(values))
            values += data + bytes(len(data) % 2)
    count = struct.pack(order + ("Q" if big else "H"), len(table))
    end = struct.pack(order + code, 0)
    return head + struct.pack(order + code, base + start) + body + count + lines + end + values


def _encoded(value: Any, is_pointer: bool, pointer: int, order: str) -> tuple[int, int, bytes]:
    if isinstance(value, bytes):
        return UNDEFINED, len(value), value
    numbers = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
    kind = pointer if is_pointer else SHORT if max(numbers) < 1 << 16 else LONG
    return kind, len(numbers), struct.pack(f"{order}{len(numbers)}{_CODES[kind]}", *numbers)
