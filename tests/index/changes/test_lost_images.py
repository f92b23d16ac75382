"""`--sync`: images out of reach stay in the index; those that the user says are gone go."""

import shutil
from pathlib import Path

import pytest

from fgembed.bundle import Bundle
from fgembed.errors import ConfigError, NotFoundError
from fgembed.images.finding import find_images
from fgembed.index.changes.add import add_images
from fgembed.index.changes.plan import AddPlan, Sync
from fgembed.index.format.manifest import Manifest
from fgembed.index.search.snapshot import open_vectors
from tests.index.making import indexed_ids


@pytest.fixture
def classes(image_folder: Path) -> list[Path]:
    """Three folders of eight images."""
    return sorted(image_folder.iterdir())


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_that_is_empty_or_missing_keeps_its_images_until_it_is_back(
    image_index: Path, image_folder: Path, model: Bundle, classes: list[Path], empty: bool
):
    before = indexed_ids(image_index)
    away = classes[1].rename(image_folder.parent / "away")
    if empty:
        classes[1].mkdir()
    for _ in range(2):
        report = add_images(image_index, image_folder, model, sync=Sync())
        assert (report.removed, report.unchanged) == (0, 16)
        (kept,) = report.kept
        assert (kept.folder, len(kept.names), kept.indexed) == (str(classes[1]), 8, 8)
        assert kept.reason == ("empty" if empty else "missing")
    assert indexed_ids(image_index) == before
    if empty:
        classes[1].rmdir()
    away.rename(classes[1])
    report = add_images(image_index, image_folder, model, sync=Sync())
    assert (report.unchanged, list(report.kept)) == (24, [])
    assert indexed_ids(image_index) == before


def test_a_file_in_the_place_of_a_folder_and_a_disk_with_other_images_lose_nothing(
    image_index: Path, image_folder: Path, model: Bundle, classes: list[Path], photos: Path
):
    before = indexed_ids(image_index)
    shutil.move(classes[0], image_folder.parent / "away")
    classes[0].write_bytes(b"")
    shutil.move(classes[1], image_folder.parent / "away too")
    shutil.copytree(photos / "test" / classes[1].name, classes[1])
    for path in classes[1].iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    report = add_images(image_index, image_folder, model, sync=Sync())
    assert [lost.reason for lost in report.kept] == ["missing", "holds none of them"]
    assert (report.added, report.removed, report.unchanged) == (3, 0, 8)
    assert before.items() <= indexed_ids(image_index).items()


def test_only_what_is_said_to_be_gone_is_removed(
    image_index: Path, image_folder: Path, model: Bundle, classes: list[Path]
):
    for folder in classes[:2]:
        shutil.rmtree(folder)
    report = add_images(image_index, image_folder, model, sync=Sync([classes[0]]))
    assert (report.removed, len(report.kept)) == (8, 1)
    assert {path.parent for path in indexed_ids(image_index)} == {classes[1], classes[2]}
    with pytest.raises(ConfigError, match=r"--gone '/elsewhere' is not in .*; give a folder that"):
        add_images(image_index, image_folder, model, sync=Sync([Path("/elsewhere")]))


def test_single_files_are_removed_and_more_than_half_of_a_folder_is_not(
    image_index: Path, image_folder: Path, model: Bundle, classes: list[Path]
):
    for folder, count in ((classes[0], 4), (classes[1], 5)):
        for path in find_images(folder)[0][:count]:
            path.unlink()
    report = add_images(image_index, image_folder, model, sync=Sync())
    assert report.removed == 4
    assert [(lost.folder, lost.reason) for lost in report.kept] == [
        (str(classes[1]), "holds only 3 of them")
    ]
    report = add_images(image_index, image_folder, model, sync=Sync([classes[1]]))
    assert (report.removed, Manifest.read(image_index).count) == (5, 15)


def test_a_link_to_a_disk_that_is_away_is_not_gone(
    image_index: Path, image_folder: Path, model: Bundle, classes: list[Path]
):
    disk = image_folder.parent / "disk"
    classes[0].rename(disk)
    classes[0].symlink_to(disk)
    for path in find_images(classes[1])[0][:3]:
        path.rename(image_folder.parent / path.name)
        path.symlink_to(image_folder.parent / path.name)
    before = indexed_ids(image_index)
    assert add_images(image_index, image_folder, model, sync=Sync()).unchanged == 24
    disk.rename(image_folder.parent / "unmounted")
    for path in find_images(classes[1])[0][:3]:
        path.resolve().unlink()
    report = add_images(image_index, image_folder, model, sync=Sync())
    assert (report.removed, report.unchanged, len(report.kept)) == (0, 13, 1)
    assert indexed_ids(image_index) == before


def test_a_plan_changes_nothing_and_says_what_the_change_then_does(
    image_index: Path, image_folder: Path, model: Bundle, classes: list[Path]
):
    state = (image_index / "manifest.json").read_bytes()
    first, second, third = find_images(classes[0])[0][:3]
    first.rename(image_folder / "moved.jpg")
    second.unlink()
    shutil.copy(find_images(classes[1])[0][0], third)
    shutil.copy(third, image_folder / "new.jpg")
    shutil.rmtree(classes[2])
    plan = AddPlan.of(open_vectors(image_index), image_folder, sync=Sync())
    assert (image_index / "manifest.json").read_bytes() == state
    paths = plan.images.paths
    assert [paths[row] for row in plan.comparison.new] == [image_folder / "new.jpg"]
    assert [paths[row] for row in plan.comparison.changed] == [third]
    assert [(move.image.path, move.path) for move in plan.comparison.moves] == [
        (str(first), image_folder / "moved.jpg")
    ]
    assert (plan.removed, len(plan.kept)) == ([str(second)], 1)
    done = add_images(image_index, image_folder, model, sync=Sync())
    counts = (done.added, done.replaced, done.moved, done.removed, done.unchanged)
    assert counts == (1, 1, 1, 1, len(plan.comparison.unchanged))


def test_a_whole_library_that_is_away_is_refused_unless_it_is_said_to_be_gone(
    image_index: Path, image_folder: Path, model: Bundle, photos: Path
):
    shutil.rmtree(image_folder)
    shutil.copytree(photos / "test", image_folder)
    for path in find_images(image_folder)[0]:
        path.rename(path.with_name(f"other-{path.name}"))
    with pytest.raises(NotFoundError, match=r"none of the 24 .* at its path any more; mount or"):
        add_images(image_index, image_folder, model, sync=Sync())
    report = add_images(image_index, image_folder, model, sync=Sync([image_folder]))
    assert (report.added, report.removed) == (9, 24)


def test_a_library_whose_own_folder_is_empty_is_refused_in_the_same_words_and_may_be_gone(
    image_index: Path, image_folder: Path, model: Bundle, classes: list[Path]
):
    before = indexed_ids(image_index)
    for folder, count in ((classes[0], 8), (image_folder, 24)):
        shutil.rmtree(folder)
        folder.mkdir()
        away = rf"none of the {count} .* {folder} is at its path any more; mount or .* --gone"
        with pytest.raises(NotFoundError, match=away):
            add_images(image_index, folder, model, sync=Sync())
    assert indexed_ids(image_index) == before
    with pytest.raises(NotFoundError, match="no images in"):
        add_images(image_index, image_folder, model)
    assert add_images(image_index, image_folder, model, sync=Sync([image_folder])).removed == 24
