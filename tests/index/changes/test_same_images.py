"""Images that are reached by another spelling, a link or a copy are indexed once."""

import shutil
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from fgembed.bundle import Bundle
from fgembed.images.finding import find_images
from fgembed.index.changes.add import add_images
from fgembed.index.changes.plan import Sync
from fgembed.index.changes.relocate import relocate
from fgembed.index.changes.remove import remove_paths
from tests.index.making import indexed_ids


@pytest.mark.usefixtures("never_embedding")
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_folder_is_found_by_either_spelling_of_its_letters(
    image_index: Path,
    image_folder: Path,
    model: Bundle,
    form: Literal["NFC", "NFD"],
    tmp_path: Path,
):
    disk, given = "Ros\u00e9", unicodedata.normalize(form, "Ros\u00e9")
    new = image_folder.rename(tmp_path / disk)
    assert add_images(image_index, tmp_path / given, model, sync=Sync()).moved == 24
    assert set(indexed_ids(image_index)) == set(find_images(new)[0])
    (tmp_path / "list.txt").write_text("".join(
        f"{given}/{path.relative_to(new)}\n{path}\n" for path in find_images(new)[0]
    ))  # fmt: skip
    report = add_images(image_index, tmp_path / "list.txt", model)
    assert (report.unchanged, report.added, len(report.repeated)) == (24, 0, 24)
    (tmp_path / "away").mkdir()
    away = new.rename(tmp_path / "away" / disk)
    relocate(image_index, tmp_path / given, tmp_path / "away" / given)
    assert set(indexed_ids(image_index)) == set(find_images(away)[0])


def test_an_image_whose_file_exists_has_copies_and_not_moves(
    image_index: Path, image_folder: Path, model: Bundle
):
    first = find_images(image_folder)[0][0]
    shutil.copy2(first, image_folder / "copy.jpg")
    report = add_images(image_index, image_folder, model, sync=Sync())
    assert (report.added, report.moved, report.unchanged) == (1, 0, 24)


@pytest.mark.usefixtures("never_embedding")
def test_a_library_that_is_reached_over_a_link_is_not_indexed_again(
    image_index: Path, image_folder: Path, model: Bundle, tmp_path: Path
):
    before = indexed_ids(image_index)
    (tmp_path / "link").symlink_to(image_folder)
    (tmp_path / "single.jpg").symlink_to(find_images(image_folder)[0][0])
    (image_folder / "0").symlink_to(find_images(image_folder)[0][0].parent)
    for source in ("link", "single.jpg"):
        report = add_images(image_index, tmp_path / source, model)
        assert (report.added, report.moved) == (0, 0)
    report = add_images(image_index, tmp_path / "link", model, sync=Sync())
    assert (report.added, report.removed, report.unchanged) == (0, 0, 24)
    assert indexed_ids(image_index) == before
    assert remove_paths(image_index, [tmp_path / "link"]).removed == 24
