"""Images are found in folders in order, by name or content, and their class folders label them."""

from pathlib import Path

import pytest

from fgembed.errors import FgembedError
from fgembed.images.finding import class_names, find_images, scan
from tests.images.folders import fill, left_out, names


def test_images_are_found_by_extension_sorted_and_through_links(tmp_path: Path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.PNG", "a.jpg", "notes.txt", "b/1.webp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    paths, skipped = find_images(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in paths] == ["a.jpg", "b/1.webp", "b/2.PNG"]
    assert skipped == []


def test_labels_are_the_first_folder_below_the_root():
    root = Path("root")
    assert class_names([root / "kiwi" / "x" / "1.jpg", root / "pear" / "2.jpg"], root) == [
        "kiwi",
        "pear",
    ]
    with pytest.raises(
        FgembedError, match=r"root/1\.jpg is in no class folder; move it to root/<class>/1\.jpg"
    ):
        class_names([root / "1.jpg"], root)


def test_images_that_are_still_in_a_cloud_and_links_to_nothing_are_listed(tmp_path: Path):
    fill(tmp_path, "1.jpg", ".IMG_2.HEIC.icloud", "3.jpg.nextcloud", content=b"")
    (tmp_path / "nas").symlink_to(tmp_path / "away")
    reasons = left_out(scan(tmp_path), tmp_path)
    assert sorted(reasons) == [".IMG_2.HEIC.icloud", "3.jpg.nextcloud", "nas"]
    assert "download it" in reasons["3.jpg.nextcloud"]
    assert "mount" in reasons["nas"]


def test_ten_thousand_files_are_found_in_order(tmp_path: Path):
    for folder in range(20):
        fill(tmp_path, *(f"{folder:02}/{n:03}.jpg" for n in range(490)), content=b"")
        fill(tmp_path, *(f"{folder:02}/@eaDir/{n}.jpg" for n in range(10)), content=b"")
    found = scan(tmp_path)
    assert names(found, tmp_path) == [f"{f:02}/{n:03}.jpg" for f in range(20) for n in range(490)]
    assert found.passed_over.images == 200


def test_names_that_look_alike_are_one_label():
    forms = ["Ros\u00e9", "Rose\u0301", "Ros\u00e9 ", "Ros\u00e9\u200b"]
    paths = [Path("r") / name / "1.jpg" for name in forms]
    assert class_names(paths, Path("r")) == ["Ros\u00e9"] * 4
    assert class_names([Path("r/a\u00a0b/1.jpg"), Path("r/A b/1.jpg")], Path("r")) == ["a b", "A b"]
