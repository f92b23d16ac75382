"""Damaged, odd and foreign image files, and a process that reads them all.

    python -m tests.images.fuzzing FOLDER

reads every file of a folder, singly and in batches, and prints as JSON what became of each.
"""

import faulthandler
import json
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fgembed.errors import ImageError
from fgembed.images.batches import ImageBatches
from fgembed.images.colours.icc_profiles import D65, DISPLAY_P3, matrix_profile, srgb_curve
from fgembed.images.formats.signatures import kind_of
from fgembed.images.preprocessing import Preprocessing, read_image
from tests.images.photographs import dng, encoded, heic, jpeg_xl, scene
from tests.images.tiff_writer import tiff

SPEC = Preprocessing(size=32)
PATIENCE_S = 30  # for one file
SIZES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF]
Draw = np.random.Generator


def several(frames: list[Image.Image]) -> dict[str, Any]:
    """Options that save further frames; copies, for Pillow leaves its own options on them."""
    return {"save_all": True, "append_images": [frame.copy() for frame in frames]}


@cache
def originals() -> list[bytes]:
    """Sound files of every format and many layouts."""
    image = scene(1, (96, 72))
    pixels, grey = np.asarray(image), np.asarray(image.convert("L"))
    deep, deep_grey = pixels.astype(np.uint16) * 257, grey.astype(np.uint16) * 257
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.where(grey > 99, 255, 0).astype(np.uint8)))
    frames = [scene(seed, (96, 72)) for seed in (2, 3)]
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Drawn"
    profile = matrix_profile(DISPLAY_P3, D65, srgb_curve())
    files = [
        *(encoded(image, "JPEG", **kw) for kw in ({}, {"progressive": True}, {"exif": exif})),
        encoded(image, "JPEG", icc_profile=profile),
        encoded(image, "JPEG", restart_marker_rows=1),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image.convert("L"), "JPEG"),
        encoded(image, "MPO", **several(frames)),
        *(encoded(image.convert(mode), "PNG") for mode in ("1", "L", "P", "RGB", "LA")),
        encoded(image, "PNG", icc_profile=profile, exif=exif),
        encoded(image, "PNG", **several(frames)),
        encoded(clear, "PNG"),
        encoded(Image.fromarray(deep_grey), "PNG"),
        *(encoded(clear, "WEBP", **kw) for kw in ({}, {"lossless": True}, several(frames))),
        encoded(image, "WEBP", icc_profile=profile, exif=exif),
        *(encoded(image, "GIF", **kw) for kw in ({}, several(frames))),
        *(encoded(image.convert(mode), "BMP") for mode in ("1", "P", "RGB")),
        *(encoded(image, "AVIF", **kw) for kw in ({}, several(frames), {"exif": exif})),
        encoded(clear, "AVIF"),
        heic(image),
        heic(clear, exif=exif.tobytes()),
        *(jpeg_xl(image, **kw) for kw in ({}, {"lossless": True})),
        jpeg_xl(clear),
        dng(image),
        dng(image, encoded(frames[0], "JPEG")),
        *(tiff(grey, order=order, tile=tile) for order in "<>" for tile in (None, 16)),
        *(tiff(deep, 2, planes=planes, deflated=one) for planes in (1, 2) for one in (False, True)),
        tiff(deep_grey, 0, big=True),
        tiff(np.asarray(clear), 2, extra=[1]),
        tiff(grey >> 4, 3, bits=4, tags={320: list(range(0, 48 * 1000, 1000))}),
        tiff((grey / 255).astype(np.float32), sample_format=3),
        *(encoded(image, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "packbits")),
        encoded(image.convert("1"), "TIFF", compression="group4"),
        encoded(image, "TIFF", **several(frames)),
    ]  # fmt: skip
    return files


def _flipped(content: bytearray, draw: Draw) -> None:
    for _ in range(int(draw.choice([1, 2, 8, 64]))):
        content[int(draw.integers(len(content)))] ^= 1 << int(draw.integers(8))


def _head_flipped(content: bytearray, draw: Draw) -> None:
    for _ in range(int(draw.choice([1, 4]))):
        content[int(draw.integers(min(len(content), 256)))] = int(draw.integers(256))


def _cut(content: bytearray, draw: Draw) -> None:
    del content[int(draw.integers(len(content))) :]


def _inserted(content: bytearray, draw: Draw) -> None:
    at = int(draw.integers(len(content)))
    content[at:at] = draw.bytes(int(draw.integers(1, 300)))


def _blanked(content: bytearray, draw: Draw) -> None:
    at, length = int(draw.integers(len(content))), int(draw.integers(1, 600))
    fill = draw.choice([0, 255])
    content[at : at + length] = bytes([int(fill)]) * len(content[at : at + length])


def _swapped(content: bytearray, draw: Draw) -> None:
    first, second, third = sorted(draw.integers(len(content), size=3).tolist())
    content[first:third] = content[second:third] + content[first:second]


def _repeated(content: bytearray, draw: Draw) -> None:
    first, second = sorted(draw.integers(len(content), size=2).tolist())
    content[first:first] = content[first:second]


def _lying(content: bytearray, draw: Draw) -> None:
    """A number in the head is another; the checksum of a PNG's head is mended."""
    for _ in range(int(draw.choice([1, 2]))):
        at = int(draw.integers(4, min(len(content) - 4, 400)))
        width = int(draw.choice([1, 2, 4]))
        order: list[str] = ["big", "little"]
        value = int(draw.choice(SIZES)) & ((1 << 8 * width) - 1)
        number = value.to_bytes(width, "big" if draw.choice(order) == "big" else "little")
        content[at : at + width] = number
    if content[1:4] == b"PNG":
        content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")


def _nested(content: bytearray, draw: Draw) -> None:
    """The head of one file, and another file."""
    files = originals()
    other = files[int(draw.integers(len(files)))]
    content[int(draw.integers(4, len(content))) :] = other


DAMAGES: list[Callable[[bytearray, Draw], None]] = [
    _flipped, _flipped, _head_flipped, _cut, _inserted, _blanked, _swapped, _repeated, _lying,
    _lying, _nested,
]  # fmt: skip


def damaged(seed: int, count: int) -> Iterator[bytes]:
    """`count` files; one of twelve is sound or noise."""
    draw, files = np.random.default_rng(seed), originals()
    for number in range(count):
        content = bytearray(files[number % len(files)])
        chance = draw.random()
        if chance < 0.04:
            content = bytearray(draw.bytes(int(draw.integers(0, 5000))))
        elif chance > 0.08:
            for _ in range(int(draw.choice([1, 1, 1, 2, 3]))):
                if len(content) > 8:
                    DAMAGES[int(draw.integers(len(DAMAGES)))](content, draw)
        yield bytes(content)


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main(folder: Path) -> None:
    """Reads the files twice and prints what became of them."""
    warnings.simplefilter("ignore")
    paths = sorted(folder.glob("*.bin"))
    rows: dict[str, str] = {}
    reasons: dict[str, str] = {}
    memory: list[float] = []
    slowest = (0.0, "")
    for number, path in enumerate(paths):
        (folder / "current").write_text(path.name)
        faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
        start = time.monotonic()
        try:
            rows[path.name] = sha256(read_image(path, SPEC).tobytes()).hexdigest()
        except ImageError as error:
            reasons[path.name] = error.reason
        slowest = max(slowest, (time.monotonic() - start, path.name))
        if number % 50 == 49:
            memory.append(resident_mb())
    faulthandler.dump_traceback_later(PATIENCE_S * 20, exit=True)
    batches = ImageBatches(paths, SPEC, batch_size=16)
    batched = {
        paths[position].name: sha256(pixels.tobytes()).hexdigest()
        for positions, images in batches
        for position, pixels in zip(positions, images, strict=True)
    }
    skipped = {bad.path.name: bad.reason for bad in batches.skipped}
    faulthandler.cancel_dump_traceback_later()
    both = rows.keys() & batched.keys()
    kinds = {path.name: kind_of(BytesIO(path.read_bytes())) for path in paths}
    became = {
        "files": len(paths),
        "read": len(rows),
        "reasons": reasons,
        "skipped": len(skipped),
        "shifted": [name for name in both if rows[name] != batched[name]],
        "wavering": [kinds[name] for name in (rows.keys() | batched.keys()) - both],
        "memory_mb": memory,
        "slowest": slowest,
    }
    sys.stdout.write(json.dumps(became))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
