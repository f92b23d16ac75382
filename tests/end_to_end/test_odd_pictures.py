"""Pictures that are unusual but sound: accepted, and upright, in their true colours."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgembed.images.decoding import load_rgb
from tests.conftest import Command
from tests.end_to_end.refusals import checked_picture

# What was done to the upright picture before it was stored with this orientation.
STORED: dict[int, Image.Transpose | None] = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

DAMAGED_EXIF = [
    b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(range(40)),
    b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\1x\0\0\0\0\0\0\0",  # text for orientation
]
# A width that is text, which Pillow reads but cannot write again, and orientation 6.
UNWRITABLE_EXIF = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\2\1\0\0\2\0\0\0\2x\0\0\0\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
)


def loaded(image: Image.Image, kind: str, at_least: int | None = None, **options: Any) -> Any:
    """The picture's pixels after saving and loading, as signed numbers."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return np.asarray(load_rgb(stream, at_least)).astype(int)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("at_least", [None, 32])
def test_every_orientation_is_turned_upright(orientation: int, at_least: int | None) -> None:
    upright = checked_picture((96, 64))
    turn = STORED[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if turn is None else upright.transpose(turn)
    actual = loaded(stored, "JPEG", at_least, exif=exif, quality=95, subsampling=0)
    height, width = actual.shape[:2]
    assert width / height == 96 / 64
    for x, y in ((0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8)):
        expected = np.asarray(upright)[int(64 * y), int(96 * x)]
        np.testing.assert_allclose(actual[int(height * y), int(width * x)], expected, atol=8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("garbage", DAMAGED_EXIF)
def test_damaged_exif_leaves_the_picture_as_it_is(garbage: bytes) -> None:
    actual = loaded(checked_picture(), "JPEG", exif=garbage, quality=95, subsampling=0)
    np.testing.assert_allclose(actual, np.asarray(checked_picture()), atol=8)


def test_a_picture_is_turned_though_its_exif_could_not_be_written_again() -> None:
    stored = checked_picture((96, 64)).transpose(Image.Transpose.ROTATE_90)
    actual = loaded(stored, "JPEG", exif=UNWRITABLE_EXIF, quality=95, subsampling=0)
    np.testing.assert_allclose(actual, np.asarray(checked_picture((96, 64))), atol=8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientation_counts_in_other_formats_too(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = checked_picture((96, 64)).transpose(Image.Transpose.ROTATE_90)
    actual = loaded(stored, kind, exif=exif, lossless=True)
    np.testing.assert_array_equal(actual, np.asarray(checked_picture((96, 64))))


def test_a_command_does_not_pass_on_pillows_warnings(
    command: Command, index: Path, tmp_path: Path
) -> None:
    checked_picture().save(tmp_path / "query.jpg", exif=DAMAGED_EXIF[0])
    done = command("search", "query.jpg", "--index", index)
    assert (done.code, done.err) == (0, "")


def test_a_command_does_not_pass_on_pillows_log(index: Path, tmp_path: Path) -> None:
    checked_picture().save(tmp_path / "query.tiff")
    content = (tmp_path / "query.tiff").read_bytes()
    samples = b"\x15\1\3\0\1\0\0\0\3\0"  # SamplesPerPixel, which is three
    assert samples in content
    (tmp_path / "query.tiff").write_bytes(content.replace(samples, samples[:-2] + b"\xa6\0"))
    code = "from fgembed.cli.main import main; main()"
    command_line = [sys.executable, "-c", code, "search", "query.tiff", "--index", str(index)]
    done = subprocess.run(command_line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot read image 'query.tiff': ")
    assert done.stderr.count("\n") == 1


def test_cmyk_jpeg_has_its_colours() -> None:
    actual = loaded(checked_picture().convert("CMYK"), "JPEG", quality=95, subsampling=0)
    np.testing.assert_allclose(actual, np.asarray(checked_picture()), atol=8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_to_eight(kind: str) -> None:
    values = np.repeat(np.array([0, 0x1200, 0x80FF, 0xFFFF], np.uint16), 16 * 64).reshape(64, 64)
    actual = loaded(Image.fromarray(values), kind)
    expected = np.repeat(np.array([0, 0x12, 0x80, 0xFF]), 16 * 64).reshape(64, 64)
    np.testing.assert_array_equal(actual, np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_lies_over_white(kind: str) -> None:
    indices = np.zeros((32, 32), np.uint8)
    indices[:, 16:] = 1
    image = Image.fromarray(indices)
    image.putpalette([0, 0, 0, 200, 10, 30])
    actual = loaded(image, kind, transparency=0)
    assert actual[5, 5].tolist() == [255, 255, 255]
    assert actual[5, 25].tolist() == [200, 10, 30]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_half_transparent_black_over_white_is_grey(mode: str) -> None:
    black = (0,) * (len(mode) - 1)
    actual = loaded(Image.new(mode, (32, 32), (*black, 128)), "PNG")
    np.testing.assert_allclose(actual, 127, atol=1)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white_become_rgb(mode: str) -> None:
    image = Image.new(mode, (32, 32), 255)
    image.paste(0, (0, 0, 16, 32))
    actual = loaded(image, "PNG")
    assert actual[0, 0].tolist() == [0, 0, 0]
    assert actual[0, 31].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "lime")]
    actual = loaded(frames[0], kind, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(actual - np.array([255, 0, 0]), 0, atol=3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "MPO"])
def test_every_format_opens_in_a_fresh_process(tmp_path: Path, kind: str) -> None:
    """Pillow loads the modules of its formats as it goes, so what ran before may hide a fault."""
    checked_picture().save(tmp_path / "photo", kind)
    code = "import sys; from pathlib import Path; from fgembed.images.decoding import load_rgb\n"
    code += "print(load_rgb(Path(sys.argv[1])).size)"
    command_line = [sys.executable, "-c", code, str(tmp_path / "photo")]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(64, 64)\n", "")


def test_the_content_decides_the_format_not_the_name(tmp_path: Path) -> None:
    checked_picture().save(tmp_path / "photo.jpg", "PNG")
    expected = np.asarray(checked_picture())
    np.testing.assert_array_equal(np.asarray(load_rgb(tmp_path / "photo.jpg")), expected)
