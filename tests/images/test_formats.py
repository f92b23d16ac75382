"""Every row of the table in docs/formats.md, by a file that is written here."""

import re
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from fgembed.errors import ImageError
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import load_rgb
from fgembed.images.formats.jpeg_xl import size_of
from fgembed.images.formats.signatures import kind_of
from fgembed.images.preprocessing import Preprocessing
from fgembed.images.sources import list_images
from tests.images.photographs import dng, encoded, heic, jpeg_xl, scene

IMAGE, OTHER = scene(1), scene(2)
FRAMES = {"save_all": True}
WRITERS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "JPEG": ("JPEG", lambda: encoded(IMAGE, "JPEG", quality=95)),
    "progressive JPEG": ("JPEG", lambda: encoded(IMAGE, "JPEG", quality=95, progressive=True)),
    "MPO": ("JPEG", lambda: encoded(IMAGE, "MPO", quality=95, append_images=[scene(2)], **FRAMES)),
    "PNG": ("PNG", lambda: encoded(IMAGE, "PNG")),
    "APNG": ("PNG", lambda: encoded(IMAGE, "PNG", append_images=[scene(2)], **FRAMES)),
    "WebP": ("WEBP", lambda: encoded(IMAGE, "WEBP", lossless=True)),
    "animated WebP": (
        "WEBP",
        lambda: encoded(IMAGE, "WEBP", lossless=True, append_images=[scene(2)], **FRAMES),
    ),
    "GIF": ("GIF", lambda: encoded(IMAGE, "GIF", append_images=[scene(2)], **FRAMES)),
    "BMP": ("BMP", lambda: encoded(IMAGE, "BMP")),
    "TIFF of pages": ("TIFF", lambda: encoded(IMAGE, "TIFF", append_images=[scene(2)], **FRAMES)),
    "HEIC": ("HEIF", lambda: heic(IMAGE, quality=90)),
    "AVIF": ("AVIF", lambda: encoded(IMAGE, "AVIF", quality=95)),
    "AVIF sequence": (
        "AVIF",
        lambda: encoded(IMAGE, "AVIF", quality=95, append_images=[scene(2)], **FRAMES),
    ),
    "JPEG XL": ("JXL", lambda: jpeg_xl(IMAGE, quality=95)),
    "JPEG XL, lossless": ("JXL", lambda: jpeg_xl(IMAGE, lossless=True)),
    "preview of a DNG": ("RAW", lambda: dng(scene(3, (640, 480)), encoded(IMAGE, "JPEG"))),
}  # fmt: skip


def difference(content: bytes, expected: Image.Image, at_least: int | None = None) -> float:
    actual = np.asarray(load_rgb(BytesIO(content), at_least)).astype(int)
    return float(np.abs(actual - np.asarray(expected)).mean())


@pytest.mark.parametrize("name", WRITERS)
def test_a_format_is_known_by_its_content_and_read(name: str, tmp_path: Path):
    kind, write = WRITERS[name]
    content = write()
    assert kind_of(BytesIO(content)) == kind
    at_least = 200 if kind == "RAW" else None
    assert difference(content, IMAGE, at_least) < (6 if kind in ("GIF", "RAW") else 2.5)
    (tmp_path / "photo.txt").write_bytes(content)
    np.testing.assert_array_equal(
        np.asarray(load_rgb(tmp_path / "photo.txt", at_least)),
        np.asarray(load_rgb(BytesIO(content), at_least)),
    )


def test_the_main_picture_of_a_heic_is_read():
    stream = BytesIO()
    import pillow_heif

    file = pillow_heif.from_pillow(OTHER)
    file.add_from_pillow(IMAGE)
    file.save(stream, quality=90, primary_index=1)
    assert difference(stream.getvalue(), IMAGE) < 2.5
    deep = (np.asarray(IMAGE).astype(np.uint16) * 257).tobytes()
    file, stream = pillow_heif.from_bytes("RGB;16", IMAGE.size, deep), BytesIO()
    file.save(stream, quality=90)
    assert difference(stream.getvalue(), IMAGE) < 2.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_turned_pictures_are_upright_once(kind: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg = Image.open(BytesIO(encoded(IMAGE, "JPEG", exif=exif, quality=95)))
    content = (
        heic(IMAGE, exif=exif.tobytes(), quality=90)
        if kind == "HEIC"
        else encoded(IMAGE, "AVIF", exif=exif, quality=95)
    )
    assert difference(content, ImageOps.exif_transpose(jpeg)) < 2.5


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [(1, None), (3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270)],
)
def test_a_raw_photograph_is_upright_by_preview_and_by_sensor(orientation: int, turn: Any):
    photograph = scene(3, (640, 480))
    expected = photograph if turn is None else photograph.transpose(turn)
    content = dng(photograph, encoded(photograph, "JPEG", quality=95), orientation)
    assert difference(content, expected, at_least=400) < 4
    developed = np.asarray(load_rgb(BytesIO(content))).astype(float)
    assert developed.shape == np.asarray(expected).shape
    assert np.corrcoef(developed.ravel(), np.asarray(expected).ravel())[0, 1] > 0.95


def test_a_small_preview_does_not_stand_for_the_photograph():
    photograph = scene(3, (640, 480))
    content = dng(photograph, encoded(scene(4, (160, 120)), "JPEG"))
    assert load_rgb(BytesIO(content), 200).size == (320, 240)  # the sensor, at half the size
    assert load_rgb(BytesIO(content), 300).size == (640, 480)
    half = np.asarray(photograph.reduce(2)).astype(float)
    developed = np.asarray(load_rgb(BytesIO(content), 200)).astype(float)
    assert np.corrcoef(developed.ravel(), half.ravel())[0, 1] > 0.95


def test_a_raw_photograph_of_a_lying_size_is_not_developed():
    content = dng(IMAGE)
    width, height = (b"\0\1\3\0\1\0\0\0" + size for size in (b"\x40\1\0\0", b"\xf0\0\0\0"))
    height = b"\1" + height[1:]
    assert content.count(width) == content.count(height) == 1
    lying = content.replace(width, width[:8] + b"\x20\x4e\0\0")
    lying = lying.replace(height, height[:8] + b"\x10\x27\0\0")
    with pytest.raises(ImageError, match=r"damaged camera raw: 20000 x 10000 px in \d+ bytes"):
        load_rgb(BytesIO(lying))


def test_a_raw_whose_colour_pattern_lies_outside_the_file_is_refused():
    content = bytearray(dng(IMAGE))
    (entry,) = [found.start() for found in re.finditer(rb"\x8e\x82[\x01\x07]\0\x04\0\0\0", content)]
    content[entry + 4 : entry + 12] = struct.pack("<II", 9, len(content) - 8)
    with pytest.raises(ImageError, match="its colour pattern lies outside the file"):
        load_rgb(BytesIO(content))


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"II*\0\x10\0\0\0CR\2\0", "RAW"),
        (b"FUJIFILMCCD-RAW 0201", "RAW"),
        (b"IIRO\x08\0\0\0", "RAW"),
        (b"IIU\0\x18\0\0\0", "RAW"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "RAW"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", None),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
        (b"%PDF-1.7", None),
    ],
)
def test_first_bytes_tell_a_camera_from_a_film(first: bytes, kind: str | None):
    assert kind_of(BytesIO(first.ljust(64, b"\0"))) == kind


@pytest.mark.parametrize(
    "size", [(16, 16), (256, 256), (320, 240), (333, 17), (1600, 900), (4096, 24), (5000, 40)]
)
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size: tuple[int, int]):
    assert size_of(jpeg_xl(Image.new("RGB", size))) == size


def test_a_missing_extra_is_named(tmp_path: Path):
    (tmp_path / "photo.jxl").write_bytes(jpeg_xl(IMAGE))
    (tmp_path / "photo.dng").write_bytes(dng(IMAGE))
    (tmp_path / "photo.heic").write_bytes(heic(IMAGE))
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['rawpy', 'pillow_jxl', '_pi_heif']))\n"
        "from pathlib import Path\n"
        "from fgembed.errors import ImageError\n"
        "from fgembed.images.decoding import load_rgb\n"
        "for path in sys.argv[1:]:\n"
        "    try: load_rgb(Path(path))\n"
        "    except ImageError as error: print(error.reason)\n"
    )
    paths = sorted(map(str, tmp_path.glob("photo.*")))
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "camera raw needs \"pip install 'fgembed[formats]'\"",
        "HEIC needs \"pip install 'pi-heif'\"",
        "JPEG XL needs \"pip install 'fgembed[formats]'\"",
    ]


def test_rare_decoders_are_loaded_by_the_files_that_need_them(tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(encoded(IMAGE, "JPEG"))
    code = (
        "import sys; from pathlib import Path; from fgembed.images.preprocessing import *\n"
        "read_image(Path(sys.argv[1]), Preprocessing())\n"
        "print(sorted({'_pi_heif', 'rawpy', 'pillow_jxl', 'PIL.AvifImagePlugin',"
        "'PIL.TiffImagePlugin', 'PIL.ImageCms'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "photo.jpg")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_all_formats_in_a_tar_file_are_read_by_threads(tmp_path: Path):
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for number, (_, write) in enumerate(WRITERS.values()):
            content = write()
            entry = tarfile.TarInfo(f"{number:02}.jpg")
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))
    batches = ImageBatches(list_images([tmp_path / "photos.tar"]).images, Preprocessing(size=64))
    ((positions, pixels),) = list(batches)
    assert positions == list(range(len(WRITERS)))
    assert batches.skipped == []
    assert np.abs(pixels.astype(int) - pixels[0]).mean(axis=(1, 2, 3)).max() < 7


def test_bytes_that_only_begin_like_an_image_are_named_by_their_format():
    files = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\x0a": "JPEG XL", b"II*\0": "TIFF"}
    for first, kind in files.items():
        with pytest.raises(ImageError, match=f"damaged {kind}"):
            load_rgb(BytesIO(first))
