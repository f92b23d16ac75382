"""Flushes: a folder that cannot be flushed is passed over, a file never is."""

import errno
import os
from pathlib import Path

import pytest

from fgembed.disk.files import atomic_write, staged_folder
from fgembed.disk.flushing import sync
from tests.children import NO_FLUSH, ended, python

WRITE = """
from pathlib import Path
from fgembed.disk.files import atomic_write, staged_folder, write_text
write_text(Path("a.txt"), "whole")
with staged_folder(Path("bundle")) as staged:
    write_text(staged / "model", "whole")
"""
NO_FILE_FLUSH = """
import errno, os
def refused(descriptor): raise OSError(errno.EIO, os.strerror(errno.EIO))
os.fsync = refused
"""


@pytest.mark.parametrize("name", ["EINVAL", "ENOTSUP", "EIO", "ENOSYS", "EBADF", "EACCES"])
def test_a_folder_that_cannot_be_flushed_is_passed_over(tmp_path: Path, name: str) -> None:
    done = ended(python(NO_FLUSH.format(name=name) + WRITE, folder=tmp_path))
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "bundle/model").read_text() == "whole"


def test_a_full_disk_is_an_error_of_a_folder_too(tmp_path: Path) -> None:
    done = ended(python(NO_FLUSH.format(name="ENOSPC") + WRITE, folder=tmp_path))
    assert done.code == 1
    assert "No space left on device" in done.err


def test_a_file_that_cannot_be_flushed_is_named_and_the_old_one_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    done = ended(python(NO_FILE_FLUSH + WRITE, folder=tmp_path))
    assert done.code == 1
    assert "Input/output error: 'a.txt'" in done.err
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_of_a_new_folder_that_cannot_be_flushed_is_named_and_nothing_appears(
    tmp_path: Path,
) -> None:
    code = NO_FILE_FLUSH + (
        "from pathlib import Path\n"
        "from fgembed.disk.files import staged_folder\n"
        "with staged_folder(Path('bundle')) as staged: (staged / 'model').write_text('whole')\n"
    )
    done = ended(python(code, folder=tmp_path))
    assert done.code == 1
    assert "Input/output error: '" in done.err and "/model'" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        sync(tmp_path / "gone")


def test_an_error_of_the_rename_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError, match="directory") as error, atomic_write(tmp_path / "a.txt") as f:
        f.write(b"new")
    assert error.value.filename == str(tmp_path / "a.txt")
    assert error.value.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)


def test_a_new_folder_is_flushed_to_the_last_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    flush = os.fsync

    def noting(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with staged_folder(tmp_path / "bundle") as staged:
        (staged / "onnx").mkdir()
        (staged / "onnx" / "model").write_text("whole")
    assert {"onnx", "model", tmp_path.name} <= {*flushed}
