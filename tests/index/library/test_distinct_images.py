"""One file is one entry of a listing, by whatever paths it is named."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fgembed.index.library.distinct_images import distinct
from fgembed.index.library.indexed_folders import IndexedFolders


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "1.jpg"
    path.write_bytes(b"image")
    return path


def test_a_path_that_is_listed_twice_is_one_entry_with_its_first_metadata(file: Path):
    found = distinct([file, file, file], {"year": [2019, 2019, 2020]})
    assert found.rows == [0]
    assert [again.other_metadata for again in found.repeated] == [False, True]


def test_a_link_to_a_file_and_a_link_to_its_folder_name_the_same_file(file: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "one.jpg").symlink_to(file)
    found = distinct([file, tmp_path / "link" / "1.jpg", tmp_path / "one.jpg"], {})
    assert found.rows == [0]
    assert {again.first for again in found.repeated} == {file}


def test_the_path_by_which_an_index_knows_a_file_goes_before_a_link_that_is_listed_first(
    file: Path, tmp_path: Path
):
    link = tmp_path / "0.jpg"
    link.symlink_to(file)
    other = tmp_path / "2.jpg"
    other.write_bytes(b"another")
    paths = [link, other, file]
    assert distinct(paths, {}).rows == [0, 1]
    found = distinct(paths, {}, {str(file): 7})
    assert found.rows == [1, 2]
    assert [state and state.size for state in found.states] == [7, 5]
    assert [(again.path, again.first) for again in found.repeated] == [(link, file)]


def test_copies_and_hard_links_stay_two_entries(file: Path, tmp_path: Path):
    shutil.copy2(file, tmp_path / "copy.jpg")
    os.link(file, tmp_path / "a" / "hard.jpg")
    os.link(file, tmp_path / "hard.jpg")
    names = ("a/1.jpg", "copy.jpg", "a/hard.jpg", "hard.jpg")
    assert distinct([tmp_path / name for name in names], {}).rows == [0, 1, 2, 3]


def test_missing_files_are_no_copies_of_one_another(tmp_path: Path):
    found = distinct([tmp_path / "1.jpg", tmp_path / "2.jpg"], {})
    assert (found.rows, found.states) == ([0, 1], [None, None])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_another_mount_point_names_the_same_file(file: Path, tmp_path: Path):
    other = tmp_path / "mounted"
    other.mkdir()
    bind = ["mount", "--bind", str(file.parent), str(other)]
    if subprocess.run(bind, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        os.link(file, tmp_path / "hard.jpg")  # two links: the inode alone no longer tells
        found = distinct([file, other / "1.jpg", tmp_path / "hard.jpg"], {})
        known = IndexedFolders([str(file)], [str(file.parent)])
        assert (known.spelled(other / "2.jpg"), found.rows) == (file.parent / "2.jpg", [0, 2])
    finally:
        subprocess.run(["umount", "-l", str(other)], check=True)


def test_a_known_folder_is_known_again_over_a_link_at_any_depth(file: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path)
    known = IndexedFolders([str(file)], [str(tmp_path)])
    assert known.spelled(tmp_path / "link" / "a" / "1.jpg") == file
    assert known.spelled(tmp_path / "link" / "new" / "1.jpg") == tmp_path / "new" / "1.jpg"
    assert known.folder(tmp_path / "link" / "a") == tmp_path / "a"
    elsewhere = Path("/elsewhere/1.jpg")
    assert known.spelled(elsewhere) == elsewhere
