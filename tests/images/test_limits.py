"""What is beside the pixels does not count, what is missing at the end hardly; limits remain."""

import os
import resource
import struct
import tarfile
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fgembed.errors import ImageError
from fgembed.images.decoding import load_rgb
from fgembed.images.finding import scan
from fgembed.images.limits import LIMIT_VARIABLE
from fgembed.images.tar_files import scan_tar
from tests.images.photographs import encoded, heic, jpeg_xl, scene
from tests.images.test_colour import PROFILES, chunk, difference, in_space, with_chunk
from tests.images.tiff_writer import tiff

IMAGE = scene(7)
PNG, JPEG = encoded(IMAGE, "PNG"), encoded(IMAGE, "JPEG", quality=90)


def same(content: bytes, reference: bytes) -> bool:
    actual, expected = (np.asarray(load_rgb(BytesIO(part))) for part in (content, reference))
    return bool((actual == expected).all())


def test_an_editors_history_of_any_length_does_not_count():
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    assert same(encoded(IMAGE, "PNG", pnginfo=text), PNG)
    many = PngImagePlugin.PngInfo()
    for number in range(100):
        many.add_text(f"key {number}", "y" * 900_000, zip=True)
    assert same(encoded(IMAGE, "PNG", pnginfo=many), PNG)
    packed = b"a\0\0" + zlib.compress(b"z" * 5_000_000)
    assert same(PNG[:-12] + chunk(b"zTXt", packed) + PNG[-12:], PNG)


def test_a_printers_profile_does_not_count_and_a_large_real_one_does():
    assert same(encoded(IMAGE, "PNG", icc_profile=bytes(2_000_000)), PNG)
    profile = PROFILES["Adobe RGB"]
    large = profile + np.random.default_rng(0).bytes(1_500_000)
    large = struct.pack(">I", len(large)) + large[4:]
    content = encoded(in_space(IMAGE, profile), "PNG", icc_profile=large)
    assert difference(content, IMAGE) < 1


def test_metadata_are_no_way_to_fill_the_memory():
    text = PngImagePlugin.PngInfo()
    for number in range(40):
        text.add_text(f"key {number}", "y" * 50_000_000, zip=True)
    content = encoded(IMAGE, "PNG", pnginfo=text)
    del text
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert same(content, PNG)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("name", [b"tEXt", b"gAMA", b"cHRM", b"iCCP", b"sRGB", b"eXIf", b"abcd"])
@pytest.mark.parametrize("data", [b"", b"\0" * 3, b"\xff" * 40])
def test_a_damaged_chunk_beside_the_pixels_does_not_count(name: bytes, data: bytes):
    sound = with_chunk(PNG, name, data)
    broken = sound[: 41 + len(data)] + b"\0\0\0\0" + sound[45 + len(data) :]
    for content in (sound, broken):
        assert same(content, PNG)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "block",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xE1, b"Exif\0\0garbage"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"),
        segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\3"),
        segment(0xE2, b"ICC_PROFILE\0\1\x09zz"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\xff"),
        segment(0xEE, b"Adobe"),
        b"\xff\xe1\xff\xffExif\0\0",
    ],
    ids=["JFIF", "EXIF", "XMP", "MPO", "ICC", "Photoshop", "Adobe", "lying length"],
)
def test_a_damaged_block_of_a_jpeg_does_not_count(block: bytes):
    assert same(JPEG[:2] + block + JPEG[2:], JPEG)


def test_what_stands_before_or_behind_a_jpeg_does_not_count():
    assert same(b"\r\n\r\n" + JPEG, JPEG)
    assert same(JPEG + b"PK\3\4" * 1000, JPEG)
    assert same(JPEG + encoded(scene(8), "JPEG"), JPEG)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("missing", [1, 2, 12, 20])
def test_the_last_bytes_may_be_missing(kind: str, missing: int):
    content = encoded(IMAGE, kind)
    actual = np.asarray(load_rgb(BytesIO(content[:-missing]))).astype(int)
    assert np.abs(actual - np.asarray(load_rgb(BytesIO(content)))).mean() < 1


@pytest.mark.parametrize("options", [{"interlace": 0}, {"interlace": 1}])
def test_the_last_pixels_of_a_gif_may_be_missing_but_not_a_fifth(options: dict[str, Any]):
    content = encoded(IMAGE, "GIF", **options)
    whole = np.asarray(load_rgb(BytesIO(content))).astype(int)
    for missing in (1, 2, 3, 4, 5, 17, 50):
        part = np.asarray(load_rgb(BytesIO(content[:-missing])))
        assert np.abs(part - whole).mean() < 1.5
    with pytest.raises(ImageError, match="truncated"):
        load_rgb(BytesIO(content[: len(content) * 4 // 5]))


def test_damaged_exif_of_a_jpeg_xl_does_not_count():
    content = jpeg_xl(IMAGE, exif=b"II*\0\x08\0\0\0" + bytes(8))
    assert b"II*\0" in content
    broken = content.replace(b"II*\0", b"II\xff\xff")
    assert same(broken, content)


class Panic(BaseException):
    """As pyo3 raises it where a decoder in Rust panics."""


class PanickingStream(BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise Panic("index out of bounds")


def test_a_panic_of_a_decoder_is_an_unreadable_image():
    with pytest.raises(ImageError, match="index out of bounds"):
        load_rgb(PanickingStream())


def test_no_image_is_bad_because_too_many_files_are_open(tmp_path: Path):
    (tmp_path / "1.png").write_bytes(PNG)
    (tmp_path / "2").write_bytes(PNG)
    tar = tmp_path / "1.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(tmp_path / "1.png", "1.png")
    (member,) = scan_tar(tar).members
    load_rgb(tmp_path / "1.png")  # what is imported late is imported now
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, limits[1]))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for attempt in (
            lambda: load_rgb(tmp_path / "1.png"),
            lambda: scan(tmp_path),
            lambda: member.open(),
        ):
            with pytest.raises(OSError, match="Too many open files"):
                attempt()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in held:
            os.close(descriptor)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_the_last_rows_of_a_jpeg_may_be_missing_but_not_half(options: dict[str, Any]):
    content = encoded(IMAGE, "JPEG", **options)
    few = np.asarray(load_rgb(BytesIO(content[: int(len(content) * 0.96)]))).astype(int)
    whole = np.asarray(load_rgb(BytesIO(content)))
    assert np.abs(few - whole)[:200].mean() < 1
    for at_least in (None, 64):
        with pytest.raises(ImageError, match="truncated"):
            load_rgb(BytesIO(content[: len(content) // 2]), at_least)


def test_half_a_png_is_refused():
    with pytest.raises(ImageError, match="truncated"):
        load_rgb(BytesIO(PNG[: len(PNG) // 2]))
    interlaced_part = encoded(scene(1, (200, 150)), "PNG")
    assert same(interlaced_part[:-16], interlaced_part)


def test_a_picture_of_a_scanners_size_is_read_whatever_the_process_allows_pillow(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP"):
            content = encoded(IMAGE, kind)
            assert load_rgb(BytesIO(content)).size == IMAGE.size
        assert load_rgb(BytesIO(tiff(np.zeros((64, 64), np.uint8)))).size == (64, 64)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_the_limit_on_pixels_says_how_to_raise_it(monkeypatch: pytest.MonkeyPatch):
    contents = [encoded(IMAGE, kind) for kind in ("PNG", "TIFF", "WEBP", "AVIF", "BMP", "GIF")]
    contents += [heic(IMAGE), jpeg_xl(IMAGE)]
    monkeypatch.setenv(LIMIT_VARIABLE, "76799")
    for content in contents:
        with pytest.raises(ImageError, match="320 x 240 px exceeds limit of 76,799 pixels; with 0"):
            load_rgb(BytesIO(content))
    assert load_rgb(BytesIO(JPEG), 64).size == (160, 120)
    with pytest.raises(ImageError, match="exceeds limit"):  # libjpeg keeps all coefficients
        load_rgb(BytesIO(encoded(IMAGE, "JPEG", progressive=True)), 64)
    monkeypatch.setenv(LIMIT_VARIABLE, "76800")
    for content in contents:
        assert load_rgb(BytesIO(content)).size == IMAGE.size
    monkeypatch.setenv(LIMIT_VARIABLE, "many")
    with pytest.raises(ImageError, match="FGEMBED_MAX_PIXELS is 'many', expected a number"):
        load_rgb(BytesIO(PNG))


def test_a_progressive_jpeg_of_thousands_of_scans_is_refused_at_once():
    content = encoded(IMAGE, "JPEG", progressive=True)
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\0\0"
    assert load_rgb(BytesIO(content[:-2] + scan * 50 + content[-2:])).size == IMAGE.size
    with pytest.raises(ImageError, match=r"damaged JPEG: 50\d\d scans, expected at most 200"):
        load_rgb(BytesIO(content[:-2] + scan * 5000 + content[-2:]))
    video = content + np.random.default_rng(0).bytes(30_000_000)  # behind a motion picture
    assert video.count(b"\xff\xda") > 400
    assert same(video, content)


def test_a_jpeg_larger_than_the_limit_is_read_at_a_reduced_scale(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "20000")
    assert load_rgb(BytesIO(JPEG), 64).size == (160, 120)
    assert load_rgb(BytesIO(JPEG), 110).size == (160, 120)
    with pytest.raises(ImageError, match="exceeds limit"):
        load_rgb(BytesIO(JPEG))


def test_ten_pixels_are_too_few(tmp_path: Path):
    for kind in ("PNG", "TIFF"):
        content = encoded(scene(1, (40, 10)), kind)
        with pytest.raises(ImageError, match="40 x 10 px is under 16 px a side; give it in a larg"):
            load_rgb(BytesIO(content))
    for content in (heic(scene(1, (40, 10))), jpeg_xl(scene(1, (40, 10)))):
        with pytest.raises(ImageError, match="under 16 px"):
            load_rgb(BytesIO(content))
