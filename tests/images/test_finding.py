"""Files are found by name, and their class folders label them."""

from pathlib import Path

import pytest

from fgembed.errors import FgembedError
from fgembed.images.finding import class_names, find_images


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
