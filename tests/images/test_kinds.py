"""What a file is by its name and its first bytes: an image, one that is not read, or none."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from fgembed.errors import NotFoundError
from fgembed.images.finding import scan
from fgembed.images.kinds.formats import EXTENSIONS, NOT_READ
from fgembed.images.kinds.signatures import format_of
from tests.images.folders import fill, left_out, names


@pytest.mark.parametrize("extension", sorted(EXTENSIONS))
def test_every_extension_of_a_format_that_is_read_is_an_image(tmp_path: Path, extension: str):
    fill(tmp_path, f"1{extension}", f"2{extension.upper()}", content=b"")
    found = scan(tmp_path)
    assert names(found, tmp_path) == [f"1{extension}", f"2{extension.upper()}"]


@pytest.mark.parametrize("extension", [e for names in NOT_READ.values() for e in names.split()])
def test_a_picture_of_a_format_that_is_not_read_is_listed_with_what_to_do(
    tmp_path: Path, extension: str
):
    fill(tmp_path, "1.jpg", f"a/2.{extension.upper()}")
    reason = left_out(scan(tmp_path), tmp_path)[f"a/2.{extension.upper()}"]
    assert reason.endswith(" is not read; save it as JPEG or PNG")


def test_archives_are_listed(tmp_path: Path):
    archives = ["1.zip", "a/2.tar", "3.tar.gz", "4.TGZ", "5.7z", "6.jpg.gz", "7.rar"]
    fill(tmp_path, "1.jpg", "notes.txt.gz", *archives, content=b"")
    reasons = left_out(scan(tmp_path), tmp_path)
    assert sorted(reasons) == sorted(archives)
    assert all("unpack it" in reason for reason in reasons.values())


def test_text_videos_and_sidecars_are_no_pictures(tmp_path: Path):
    fill(tmp_path, "1.jpg")
    others = ["1.xmp", "1.AAE", "1.json", "1.mov", "1.MP4", "1.thm", "notes", "notes.unheard", "db"]
    fill(tmp_path, *others, content=b"no picture")
    found = scan(tmp_path)
    assert (names(found, tmp_path), found.skipped) == (["1.jpg"], [])


@pytest.mark.parametrize(
    "name", ["photo", "photo (1)", "1.jpg_large", "1.jpeg:large", "1.jpg?w=100", "1.jpg.1", "a.x"]
)
def test_a_file_whose_name_says_nothing_is_an_image_if_it_begins_like_one(
    tmp_path: Path, name: str
):
    fill(tmp_path, name)
    assert names(scan(tmp_path), tmp_path) == [name]


@pytest.mark.parametrize(
    ("head", "format_"),
    [
        (b"8BPS\0\1" + bytes(20), "Photoshop"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b'<?xml version="1.0"?>\n<svg width="8">', "SVG"),
        (b"v/1\x01" + bytes(20), "OpenEXR"),
    ],
)
def test_a_picture_that_is_not_read_is_known_by_its_content(
    tmp_path: Path, head: bytes, format_: str
):
    fill(tmp_path, "1.jpg")
    fill(tmp_path, "poster", content=head)
    reasons = left_out(scan(tmp_path), tmp_path)
    assert reasons == {"poster": f"{format_} is not read; save it as JPEG or PNG"}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\0\0\0\x1cftypheic", "HEIC"),
        (b"\0\0\0\x1cftypmif1", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x18ftypcrx ", "camera raw"),
        (b"\0\0\0\x18ftypqt  ", None),  # a video
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"BM are these, in text", None),
        (b"", None),
        (b"MZ\x90\0", None),
    ],
)
def test_first_bytes_tell_the_format(head: bytes, expected: str | None):
    assert format_of(head) == expected


def test_a_bitmap_is_known_by_its_first_bytes():
    stream = io.BytesIO()
    Image.new("RGB", (32, 24)).save(stream, "BMP")
    assert format_of(stream.getvalue()[:128]) == "BMP"


def test_nothing_but_archives_is_refused(tmp_path: Path):
    fill(tmp_path, "1.zip", "2.zip")
    with pytest.raises(NotFoundError, match=r"but 2 archives, the first 1\.zip; unpack them"):
        scan(tmp_path)


def test_a_pipe_without_extension_is_not_opened(tmp_path: Path):
    fill(tmp_path, "1.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert names(scan(tmp_path), tmp_path) == ["1.jpg"]
