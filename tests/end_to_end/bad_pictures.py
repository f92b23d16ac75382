"""Files that have a picture's name and cannot be read, one of each kind, and their neighbours."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from tests.end_to_end.refusals import checked_picture

# Named so that in the order of names each lies between two good ones.
BAD = {
    "01-garbage.jpg": "not an image of a supported format",
    "03-pixel.png": "1 x 1 px is under 16 px a side",
    "05-truncated.jpg": "truncated",
    "07-text.jpg": "not an image of a supported format",
    "09-empty.jpg": "not an image of a supported format",
    "11-bomb.png": "exceeds limit",
    "13-float.tiff": "floating-point pixels are not supported",
    "15-postscript.jpg": "not an image of a supported format",
    "17-pipe.jpg": "not a file",
    "19-gone.jpg": "No such file",
    "21-loop.jpg": "symbolic link",
    "23-\udcff.jpg": "file name is not valid UTF-8",
}
GOOD = [f"{number:02}-good.jpg" for number in range(0, 26, 2)]
ODD = ["12-is-a.png.jpg", "14-new\nline.jpg"]


def encoded(image: Image.Image, kind: str) -> bytes:
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it is `side` x `side`."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def write_bad_pictures(folder: Path) -> None:
    jpeg = encoded(checked_picture(), "JPEG")
    detailed = encoded(Image.effect_noise((64, 64), 80), "JPEG")
    floats = Image.fromarray(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64))
    contents = {
        "01-garbage.jpg": bytes(range(256)) * 8,
        "03-pixel.png": encoded(checked_picture((1, 1)), "PNG"),
        "05-truncated.jpg": detailed[: len(detailed) // 2],
        "07-text.jpg": b"no picture at all\n",
        "09-empty.jpg": b"",
        "11-bomb.png": bomb(30_000),
        "13-float.tiff": encoded(floats, "TIFF"),
        "15-postscript.jpg": encoded(checked_picture(), "EPS"),
        "23-\udcff.jpg": jpeg,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "17-pipe.jpg")
    (folder / "19-gone.jpg").symlink_to("nowhere.jpg")
    (folder / "21-loop.jpg").symlink_to("21-loop.jpg")
