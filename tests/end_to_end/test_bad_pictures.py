"""Bad pictures in a folder: skipped, counted, listed, and no row shifts."""

import json
import os
import resource
import shutil
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.errors import ImageError
from fgembed.images.decoding import load_rgb
from fgembed.images.finding import find_images
from fgembed.index.changes.build import build_index
from tests.conftest import Command
from tests.end_to_end.refusals import checked_picture, refused, vectors_by_path, within

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


@dataclass(frozen=True)
class Mixed:
    pictures: Path
    index: Path
    clean_index: Path


@pytest.fixture(scope="module")
def mixed(bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    """Good pictures in one folder; the same, odd and bad ones in another; an index of each."""
    place = tmp_path_factory.mktemp("mixed")
    clean, pictures = place / "clean", place / "mixed"
    clean.mkdir()
    for name, photo in zip(GOOD, sorted((photos / "train").rglob("*.jpg")), strict=False):
        shutil.copy(photo, clean / name)
    shutil.copytree(clean, pictures)
    (pictures / ODD[0]).write_bytes(encoded(checked_picture(), "PNG"))
    checked_picture((80, 64)).save(pictures / ODD[1])
    write_bad_pictures(pictures)
    opened = Bundle.open(bundle)
    build_index(clean, opened, place / "clean.index")
    build_index(pictures, opened, place / "mixed.index")
    return Mixed(pictures, place / "mixed.index", place / "clean.index")


def test_no_row_shifts_where_pictures_are_skipped(mixed: Mixed) -> None:
    expected = vectors_by_path(mixed.clean_index)
    actual = vectors_by_path(mixed.index)
    assert sorted(actual) == sorted(GOOD + ODD)
    assert sorted(expected) == GOOD
    for name in GOOD:
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-5)
    apart = np.stack([expected[name] for name in GOOD])
    assert np.sort(np.linalg.norm(apart[:, None] - apart, axis=2), axis=1)[:, 1].min() > 1e-3


def test_the_skipped_are_all_listed(mixed: Mixed) -> None:
    lines = (mixed.index / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    listed = {Path(json.loads(line)["path"]).name for line in lines}
    assert len(lines) == len(BAD)
    assert listed == set(BAD)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_listed_with_its_reason(mixed: Mixed, name: str) -> None:
    lines = (mixed.index / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    reasons = {Path(line["path"]).name: line["reason"] for line in map(json.loads, lines)}
    assert BAD[name] in reasons[name]


@pytest.mark.parametrize("name", [name for name in BAD if "\udcff" not in name])
def test_a_bad_query_is_one_line(command: Command, mixed: Mixed, name: str) -> None:
    with within(30):
        done = command("search", mixed.pictures / name, "--index", mixed.index)
    refused(done, 1, f"cannot read image '{mixed.pictures / name}'", BAD[name])


def test_a_folder_is_no_query(command: Command, mixed: Mixed) -> None:
    refused(
        command("search", mixed.pictures, "--index", mixed.index), 1, "is a folder", "--queries DIR"
    )


def test_a_query_may_have_a_name_that_is_not_utf8(command: Command, mixed: Mixed) -> None:
    done = command("search", mixed.pictures / "23-\udcff.jpg", "--index", mixed.index, "--json")
    assert done.code == 0
    assert Path(json.loads(done.out)[0]["path"]).name in ODD  # the same picture


def test_a_line_feed_in_a_name_is_escaped_in_the_table(command: Command, mixed: Mixed) -> None:
    done = command("search", mixed.pictures / ODD[1], "--index", mixed.index, "-k", 1)
    assert done.code == 0
    assert len(done.out.splitlines()) == 2
    assert done.out.splitlines()[1].endswith("14-new\\nline.jpg")


def test_a_line_feed_in_a_name_is_exact_in_json(command: Command, mixed: Mixed) -> None:
    done = command("search", mixed.pictures / ODD[1], "--index", mixed.index, "-k", 1, "--json")
    assert json.loads(done.out)[0]["path"] == str(mixed.pictures / ODD[1])


def test_a_decompression_bomb_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(30_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="exceeds limit"):
        load_rgb(tmp_path / "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_what_is_over_the_limit_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FGEMBED_MAX_PIXELS", "90000000")
    (tmp_path / "large.png").write_bytes(bomb(9_500))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="9500 x 9500 px exceeds limit of 90,000,000 pixels"):
        load_rgb(tmp_path / "large.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_more_bad_pictures_than_allowed_is_exit_3(
    command: Command, bundle: Path, mixed: Mixed
) -> None:
    folder = mixed.pictures
    done = command("index", "build", folder, "--bundle", bundle, "--out", "i", "--max-bad", 0.4)
    refused(done, 3, f"{len(BAD)} of 27 images cannot be read, allowed are 40%", "--max-bad")
    assert len(Path("i/skipped.jsonl").read_text().splitlines()) == len(BAD)
    assert not Path("i/manifest.json").exists()


def test_as_many_bad_pictures_as_allowed_are_reported(
    command: Command, bundle: Path, mixed: Mixed
) -> None:
    folder = mixed.pictures
    done = command("index", "build", folder, "--bundle", bundle, "--out", "i", "--max-bad", 0.5)
    assert done.code == 0
    assert "15 images" in done.out
    assert f"{len(BAD)} skipped, listed in i/skipped.jsonl" in done.out


@pytest.mark.parametrize("name", ["picture.jpg", "\udcff.jpg"])
def test_nothing_but_bad_pictures_is_exit_3(
    command: Command, bundle: Path, tmp_path: Path, name: str
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / name).write_bytes(b"")
    done = command("index", "build", photos, "--bundle", bundle, "--max-bad", 1)
    refused(done, 3, "none of 1 images can be read")


def test_training_on_nothing_but_bad_pictures_is_exit_3(command: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    done = command("train", "--images", "photos", "--weights", "random", "--set", "max_bad=1",
                   "--backbone", "torchvision/resnet18:layer1")  # fmt: skip
    refused(done, 3, "none of 1 images can be read", "a.jpg")
    assert not Path("runs").exists()


@pytest.mark.parametrize("command_line", [["init"], ["index", "build"], ["train", "--images"]])
def test_an_empty_folder_is_refused(
    command: Command, bundle: Path, tmp_path: Path, command_line: list[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "bundle").symlink_to(bundle)
    refused(command(*command_line, "photos"), 1, "no images in photos", ".jpg", "mount it")


def test_a_loop_of_folders_is_walked_once(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    checked_picture().save(inner / "picture.png")
    (inner / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self").symlink_to("self")
    found, skipped = find_images(tmp_path)
    assert found == [inner / "picture.png"]
    assert skipped == []


def test_a_deep_tree_is_walked(tmp_path: Path) -> None:
    inner = tmp_path
    for _ in range(1_100):  # deeper than Python calls functions
        inner = inner / "d"
        inner.mkdir()
    checked_picture().save(inner / "picture.png")
    assert find_images(tmp_path) == ([inner / "picture.png"], [])
    (inner / "picture.png").unlink()  # pytest could not
    while inner != tmp_path:
        inner.rmdir()
        inner = inner.parent
