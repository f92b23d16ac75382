"""What the status of a file tells, and when a path names nothing any more."""

import os
import shutil
from pathlib import Path

import pytest

from fgembed.disk.file_state import LARGEST, FileState, clipped, is_gone, state_or_none


def test_a_replaced_file_differs_in_its_status_alone(tmp_path: Path):
    file, other = tmp_path / "1.jpg", tmp_path / "2.jpg"
    file.write_bytes(b"first")
    other.write_bytes(b"other")
    os.utime(file, ns=(5, 5))
    before = FileState.of(file)
    shutil.copyfile(other, file)
    os.utime(file, ns=(5, 5))
    after = FileState.of(file)
    assert (before.size, before.mtime_ns) == (after.size, after.mtime_ns) == (5, 5)
    assert after.ctime_ns > before.ctime_ns
    assert after.may_equal(before) and not after.may_equal(FileState.of(other))


def test_a_link_to_nothing_is_there_and_what_lies_below_a_file_is_gone(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert not is_gone(tmp_path / "link")
    assert not is_gone(tmp_path / "file")
    assert is_gone(tmp_path / "nothing")
    assert is_gone(tmp_path / "file" / "1.jpg")
    assert state_or_none(tmp_path / "link") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_what_lies_in_a_closed_folder_cannot_be_told(tmp_path: Path):
    tmp_path.chmod(0)
    with pytest.raises(PermissionError):
        is_gone(tmp_path / "1.jpg")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("number", "stored"), [(10**30, LARGEST), (-(10**30), -LARGEST - 1), (LARGEST, LARGEST)]
)
def test_a_number_beyond_64_bits_is_stored_as_the_nearest(number: int, stored: int):
    assert clipped(number) == stored


def test_a_time_beyond_64_bits_is_clipped(tmp_path: Path):
    (tmp_path / "1.jpg").write_bytes(b"")
    try:
        os.utime(tmp_path / "1.jpg", (0, 1 << 34))
    except OSError:
        pytest.skip("the file system has no such time")
    assert FileState.of(tmp_path / "1.jpg").mtime_ns == LARGEST or (
        (tmp_path / "1.jpg").stat().st_mtime_ns <= LARGEST
    )
