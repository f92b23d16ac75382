"""Official data sets, as small archives of the same layout, into class folders."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgembed.datasets import layouts
from fgembed.datasets.downloads import Downloads
from fgembed.datasets.writing import Written, write_dataset
from fgembed.errors import FgembedError, IntegrityError, NotFoundError
from tests.conftest import Command
from tests.datasets.archives import (
    CUB,
    jpeg,
    write_aircraft,
    write_cars,
    write_cars_in_one_list,
    write_cub,
    write_dogs,
    write_tar,
)

HUMMER, RAM = "AM General Hummer SUV 2000", "Ram C_V Cargo Van Minivan 2012"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The splits of the small archives count as official."""
    for name, layout in layouts.LAYOUTS.items():
        monkeypatch.setitem(layouts.LAYOUTS, name, replace(layout, counts=(2, 1)))


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


def images_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))


def table(file: Path) -> list[list[str]]:
    return list(csv.reader(file.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize(("name", "write", "images", "boxes"), [
    ("cub", write_cub, ["test/001.Black_footed_Albatross/b.jpg",
     "train/001.Black_footed_Albatross/a.jpg", "train/002.Laysan_Albatross/c.jpg"], 3),
    ("aircraft", write_aircraft, ["test/Model B200/0062765.jpg", "train/707-320/0034309.jpg",
     "train/F_A-18/0056978.jpg"], 3),
    ("cars", write_cars, [f"test/{HUMMER}/00001.jpg", f"train/{HUMMER}/00002.jpg",
     f"train/{RAM}/00001.jpg"], 3),
    ("cars", write_cars_in_one_list, [f"test/{HUMMER}/000003.jpg", f"train/{HUMMER}/000002.jpg",
     f"train/{RAM}/000001.jpg"], 3),
    ("dogs", write_dogs, ["test/Chihuahua/n02085620_8.jpg",
     "train/African_hunting_dog/n02116738_9.jpg", "train/Chihuahua/n02085620_7.jpg"], 2),
])  # fmt: skip
def test_archives_become_class_folders_by_the_official_split(
    downloads: Path,
    tmp_path: Path,
    name: str,
    write: Callable[[Path], None],
    images: list[str],
    boxes: int,
):
    write(downloads)
    out = tmp_path / "out"
    written = write_dataset(name, downloads, out)
    classes = len({image.split("/")[1] for image in images})
    assert written == Written(out, 2, 1, classes, boxes)
    assert images_in(out) == images
    rows = table(out / "metadata.csv")
    assert rows[0] == ["path", "label", "split", "left", "top", "width", "height"]
    assert sorted(row[0] for row in rows[1:]) == images
    assert all(row[0].startswith(f"{row[2]}/{row[1]}/") for row in rows[1:])
    assert sum(row[3] != "" for row in rows[1:]) == boxes


def test_birds_keep_their_boxes_and_visible_parts(downloads: Path, tmp_path: Path):
    write_cub(downloads)
    write_dataset("cub", downloads, tmp_path / "cub")
    boxes = {row[0]: row[3:] for row in table(tmp_path / "cub" / "metadata.csv")}
    assert boxes["train/001.Black_footed_Albatross/a.jpg"] == ["6", "2", "25.5", "20"]
    assert table(tmp_path / "cub" / "parts.csv") == [
        ["path", "part", "x", "y"],
        ["train/001.Black_footed_Albatross/a.jpg", "back", "7.0", "8.5"],
        ["test/001.Black_footed_Albatross/b.jpg", "left eye", "3.0", "4.0"],
    ]
    copied = (tmp_path / "cub" / "train" / "002.Laysan_Albatross" / "c.jpg").read_bytes()
    assert copied == jpeg(20)


@pytest.mark.parametrize(("name", "write"), [
    ("aircraft", write_aircraft), ("cars", write_cars), ("dogs", write_dogs),
])  # fmt: skip
def test_corners_become_left_top_width_and_height(
    downloads: Path, tmp_path: Path, name: str, write: Callable[[Path], None]
):
    write(downloads)
    write_dataset(name, downloads, tmp_path / "out")
    boxes = [row[3:] for row in table(tmp_path / "out" / "metadata.csv")[1:]]
    expected = ["3", "2", "18", "7"] if name == "aircraft" else ["3", "4", "10", "20"]
    assert expected in boxes
    assert not (tmp_path / "out" / "parts.csv").exists()


def test_the_banner_below_an_aircraft_is_cut_off(downloads: Path, tmp_path: Path):
    write_aircraft(downloads)
    write_dataset("aircraft", downloads, tmp_path / "out")
    image = Image.open(tmp_path / "out" / "train" / "707-320" / "0034309.jpg")
    assert image.size == (40, 10)
    assert abs(int(np.asarray(image).max()) - 90) < 20


def test_what_is_already_unpacked_is_taken(downloads: Path, tmp_path: Path):
    for name, text in CUB.items():
        file = downloads / "CUB_200_2011" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for image in ("001.Black_footed_Albatross/a", "001.Black_footed_Albatross/b",
                  "002.Laysan_Albatross/c"):  # fmt: skip
        file = downloads / "CUB_200_2011" / "images" / f"{image}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(0))
    assert write_dataset("cub", downloads, tmp_path / "out").boxes == 3


def test_a_missing_list_and_a_missing_image_are_named_and_nothing_is_left(
    downloads: Path, tmp_path: Path
):
    write_tar(downloads / "lists.tar", {"train_list.mat": b""})
    with pytest.raises(NotFoundError, match=r"no test_list\.mat of Stanford Dogs; download images"):
        write_dataset("dogs", downloads, tmp_path / "out")
    write_dogs(downloads)
    (downloads / "images.tar").unlink()
    message = r"lack 3 of 3 images of Stanford Dogs, the first n02085620-Chihuahua/n02085620_7\.jpg"
    with pytest.raises(NotFoundError, match=message):
        write_dataset("dogs", downloads, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]


def test_another_split_than_the_official_one_is_refused(downloads: Path, tmp_path: Path):
    write_cub(downloads, **{"train_test_split.txt": "1 1\n2 0\n3 0\n"})
    message = "name 1 training and 2 test images, and the official split has 2 and 1"
    with pytest.raises(FgembedError, match=message):
        write_dataset("cub", downloads, tmp_path / "out")


@pytest.mark.parametrize("text", ["1\n", "1 1\n2 0\n", "\xff\xfe"])
def test_lists_that_are_not_as_published_are_refused(downloads: Path, tmp_path: Path, text: str):
    write_cub(downloads, **{"train_test_split.txt": text})
    with pytest.raises(IntegrityError, match=r"the lists of CUB-200-2011 are not as published"):
        write_dataset("cub", downloads, tmp_path / "out")


def test_a_damaged_matlab_list_is_refused(downloads: Path, tmp_path: Path):
    write_dogs(downloads)
    (downloads / "train_list.mat").write_bytes(b"MATLAB 5.0 MAT-file, and no more")
    with pytest.raises(IntegrityError, match=r"the lists of Stanford Dogs are not as published"):
        write_dataset("dogs", downloads, tmp_path / "out")


@pytest.mark.parametrize("name", ["CUB_200_2011.tgz", "CUB_200_2011.zip", "CUB_200_2011.tar"])
def test_a_damaged_archive_is_named(downloads: Path, tmp_path: Path, name: str):
    (downloads / name).write_bytes(b"cut off")
    with pytest.raises(IntegrityError, match=rf"{name} cannot be read: .*; download it again"):
        write_dataset("cub", downloads, tmp_path / "out")


def test_an_archive_that_is_cut_off_is_named_and_nothing_is_left(downloads: Path, tmp_path: Path):
    write_cub(downloads)
    archive = downloads / "CUB_200_2011.tgz"
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(IntegrityError, match=r"CUB_200_2011\.tgz cannot be read"):
        write_dataset("cub", downloads, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_cannot_leave_the_folder(downloads: Path, tmp_path: Path):
    """The paths that are written come from the lists, as one folder and one file name each."""
    images = CUB["images.txt"].replace("002.Laysan_Albatross/c", "../../../c")
    write_cub(downloads, **{"images.txt": images})
    with pytest.raises(FgembedError):
        write_dataset("cub", downloads, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["downloads"]


def test_a_huge_file_is_refused(downloads: Path, monkeypatch: pytest.MonkeyPatch):
    write_cub(downloads)
    monkeypatch.setattr("fgembed.datasets.downloads.MAX_BYTES", 100)
    with pytest.raises(FgembedError, match="more than any file of these data sets; leave it out"):
        list(Downloads(downloads).matching(["images/002.Laysan_Albatross/c.jpg"]))


def test_a_folder_without_files_is_refused(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFoundError, match="is no folder with files in it"):
            Downloads(folder)


def test_a_folder_that_holds_something_is_not_replaced(downloads: Path, tmp_path: Path):
    write_cub(downloads)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(FgembedError, match=r"out is not empty; give another folder with --out"):
        write_dataset("cub", downloads, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_the_command_says_what_it_wrote_and_what_comes_next(
    command: Command, downloads: Path, tmp_path: Path
):
    write_cub(downloads)
    outcome = command("dataset", "cub", downloads, "--out", tmp_path / "birds")
    assert outcome.code == 0, outcome.err
    assert "2 training and 1 test images of 2 classes, 3 with a box\n" in outcome.out
    assert 'next: "fgembed train --images' in outcome.out
    assert "reading the lists of CUB-200-2011\nwriting 3 images\n" in outcome.err
    again = command("dataset", "cub", downloads, "--out", tmp_path / "more", "--json")
    assert json.loads(again.out)["train"] == 2
    unknown = command("dataset", "birds", downloads)
    assert unknown.code == 2
    assert "no data set 'birds'; give cub, cars, aircraft or dogs" in unknown.err


def test_the_official_counts_are_those_of_the_papers():
    from importlib import reload

    counts = {name: layout.counts for name, layout in reload(layouts).LAYOUTS.items()}
    assert counts == {
        "cub": (5_994, 5_794), "cars": (8_144, 8_041),
        "aircraft": (6_667, 3_333), "dogs": (12_000, 8_580),
    }  # fmt: skip
