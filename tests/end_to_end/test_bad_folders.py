"""Folders without a picture that can be read, and trees that are deep or lead into themselves."""

from pathlib import Path

import pytest

from fgembed.images.finding import find_images
from tests.conftest import Command
from tests.end_to_end.refusals import checked_picture, refused


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
