"""Whole or absent: every write survives an error in its middle."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fgembed.disk.files import atomic_write, check_files, refuse_foreign, sha256, staged_folder
from fgembed.disk.temporaries import _host, beside
from fgembed.errors import FgembedError, IntegrityError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_an_error_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(OSError, match="disk"), atomic_write(file) as stream:
        stream.write(b"half")
        raise OSError(28, "disk full")
    assert (file.read_text(), names(tmp_path)) == ("old", ["a.txt"])


def test_what_a_killed_process_left_is_swept_and_a_live_one_s_is_not(tmp_path: Path):
    here, elsewhere = _host(), "0123abcd"
    (tmp_path / f".a.txt.tmp-{here}-{dead_process()}").write_text("left")
    (tmp_path / f".a.txt.tmp-{here}-{os.getppid()}").write_text("in use")
    busy = tmp_path / f".a.txt.tmp-{elsewhere}-{dead_process()}"
    busy.write_text("in use elsewhere")
    old = tmp_path / f".a.txt.tmp-{elsewhere}-1"
    old.write_text("left elsewhere")
    os.utime(old, (0, 0))
    with atomic_write(tmp_path / "a.txt") as stream:
        stream.write(b"new")
    assert names(tmp_path) == sorted([f".a.txt.tmp-{here}-{os.getppid()}", busy.name, "a.txt"])


def test_what_an_earlier_process_of_our_number_left_is_swept(tmp_path: Path):
    """As in a container that starts again after a kill."""
    left = beside(tmp_path / "bundle", "tmp")
    left.mkdir()
    (left / "half").write_text("half")
    with staged_folder(tmp_path / "bundle") as staged:
        (staged / "new").write_text("new")
        with staged_folder(tmp_path / "bundle2"), atomic_write(staged / "b") as stream:
            stream.write(b"b")  # what is in use is not swept
    assert (names(tmp_path), names(tmp_path / "bundle")) == (["bundle", "bundle2"], ["b", "new"])


def test_the_current_folder_is_not_replaced_and_a_link_is_followed(tmp_path: Path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with staged_folder(tmp_path / "link") as staged:
        (staged / "new").write_text("new")
    assert (tmp_path / "link").is_symlink() and names(tmp_path / "real") == ["new"]
    monkeypatch.chdir(tmp_path / "real")
    with pytest.raises(FgembedError, match="is the current folder"), staged_folder(Path()):
        pass
    assert names(tmp_path / "real") == ["new"]


def test_a_staged_folder_replaces_the_old_one_only_when_whole(tmp_path: Path):
    target = tmp_path / "bundle"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(ValueError, match="half"), staged_folder(target) as staged:
        (staged / "new").write_text("new")
        raise ValueError("half way")
    assert (names(tmp_path), names(target)) == (["bundle"], ["old"])
    with staged_folder(target) as staged:
        (staged / "new").write_text("new")
    assert (names(tmp_path), names(target)) == (["bundle"], ["new"])


def test_a_kill_between_the_two_renames_is_mended_by_the_next_write(tmp_path: Path):
    old = tmp_path / f".bundle.old-{_host()}-{dead_process()}"
    old.mkdir()
    (old / "kept").write_text("kept")
    with pytest.raises(ValueError, match="stop"), staged_folder(tmp_path / "bundle"):
        raise ValueError("stop")
    assert names(tmp_path / "bundle") == ["kept"]


def test_checksums_catch_a_changed_a_missing_and_an_outside_file(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("one")
    good = sha256(folder / "a")
    assert good == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    check_files(folder, {"a": good}, "bundle")
    for files, message in (
        ({"a": "0" * 64}, "a differs from its checksum"),
        ({"b": good}, "b is missing"),
        ({"../a": good}, "outside itself"),
    ):
        with pytest.raises(IntegrityError, match=message):
            check_files(folder, files, "bundle")


def test_a_folder_that_holds_something_else_is_not_written_over(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FgembedError, match=r"holds 'thesis\.tex', which is no part of an index"):
        refuse_foreign(tmp_path, ("manifest.json", "seg-*"), "an index")
    (tmp_path / "thesis.tex").rename(tmp_path / "seg-000001")
    refuse_foreign(tmp_path, ("manifest.json", "seg-*"), "an index")
