"""Complete or absent: every write survives an error in its middle."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fgembed.disk.files import (
    atomic_write,
    check_files,
    read_json,
    sha256,
    staged_folder,
)
from fgembed.disk.foreign import refuse_foreign
from fgembed.disk.temporaries import host_digest, sweep_abandoned
from fgembed.errors import FgembedError, IntegrityError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def temporary_of(target: Path, host: str, process: int, kind: str = "tmp") -> Path:
    return target.with_name(f".{target.name}.{kind}-{host}-{process}-0123abcd")


def test_an_error_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(OSError, match="disk"), atomic_write(file) as stream:
        stream.write(b"half")
        raise OSError(28, "disk full")
    assert (file.read_text(), names(tmp_path)) == ("old", ["a.txt"])


def test_what_a_killed_process_left_is_swept_and_a_live_one_s_is_not(tmp_path: Path):
    target, this_host, other_host = tmp_path / "a.txt", host_digest(), "0123abcd"
    abandoned = temporary_of(target, this_host, dead_process())
    in_use = temporary_of(target, this_host, os.getppid())
    in_use_on_the_other = temporary_of(target, other_host, dead_process())
    abandoned_on_the_other = temporary_of(target, other_host, 1)
    for path in (abandoned, in_use, in_use_on_the_other, abandoned_on_the_other):
        path.write_text("half")
    os.utime(abandoned_on_the_other, (0, 0))
    with atomic_write(tmp_path / "a.txt") as stream:
        stream.write(b"new")
    assert names(tmp_path) == sorted([in_use.name, in_use_on_the_other.name, "a.txt"])


def test_what_an_earlier_process_of_our_number_left_is_swept_and_what_we_use_is_not(
    tmp_path: Path,
):
    """As in a container that starts again after a kill."""
    abandoned = temporary_of(tmp_path / "bundle", host_digest(), os.getpid())
    abandoned.mkdir()
    (abandoned / "half").write_text("half")
    with staged_folder(tmp_path / "bundle") as staged:
        (staged / "new").write_text("new")
        sweep_abandoned(tmp_path / "bundle")
        with staged_folder(tmp_path / "bundle2"), atomic_write(staged / "b") as stream:
            stream.write(b"b")
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


def test_a_staged_folder_replaces_the_old_one_only_when_complete(tmp_path: Path):
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
    old = temporary_of(tmp_path / "bundle", host_digest(), dead_process(), "old")
    old.mkdir()
    (old / "model").write_text("old")
    assert names(tmp_path) == [old.name]
    with pytest.raises(ValueError, match="stop"), staged_folder(tmp_path / "bundle"):
        raise ValueError("stop")
    assert names(tmp_path / "bundle") == ["model"]


def test_a_file_that_is_no_json_object_is_refused_with_the_command_that_writes_it(tmp_path: Path):
    file = tmp_path / "a.json"
    for content, reason in (("{", "not valid JSON"), ("[1]", "expected a JSON object")):
        file.write_text(content)
        with pytest.raises(
            IntegrityError, match=f"run report {file} is damaged: {reason}"
        ) as error:
            read_json(file, "run report", "fgembed train")
        assert error.value.remedy.endswith('or make it again with "fgembed train"')


def test_checksums_catch_a_changed_a_missing_and_an_outside_file(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("one")
    good = sha256(folder / "a")
    assert good == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    check_files(folder, {"a": good}, "bundle")
    (folder / "loop").symlink_to("loop")
    for files, message in (
        ({"loop": good}, "loop is missing; restore it"),
        ({"a": "0" * 64}, "a differs from its checksum; restore it from a copy, or make it again$"),
        ({"b": good}, "b is missing; restore it"),
        ({"../a": good}, r"outside itself: '\.\./a'; restore it"),
    ):
        with pytest.raises(IntegrityError, match=message):
            check_files(folder, files, "bundle")


def test_a_folder_that_holds_something_else_is_not_written_over(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FgembedError, match=r"holds 'thesis\.tex', which is no part of an index"):
        refuse_foreign(tmp_path, ("manifest.json", "seg-*"), "an index")
    (tmp_path / "thesis.tex").rename(tmp_path / "seg-000001")
    refuse_foreign(tmp_path, ("manifest.json", "seg-*"), "an index")
