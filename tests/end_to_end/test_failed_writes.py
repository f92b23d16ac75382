"""Writes that fail and places that are taken: what was there stays as it was."""

import errno
import json
import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fgembed.images.finding import find_images
from tests.conftest import Command
from tests.end_to_end.refusals import checked_picture, refused

NO_IDS = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")


@contextmanager
def file_size_limit(bytes_a_file: int) -> Iterator[None]:
    """The system refuses every write beyond the limit, whoever writes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file's content, but for the index's lock and its list of skipped pictures."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in files if path.name not in (".lock", "skipped.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


@pytest.fixture
def workspace(command: Command, bundle: Path, index: Path, tmp_path: Path) -> Path:
    """A copy of the bundle and the index in the current folder."""
    shutil.copytree(bundle, tmp_path / "bundle")
    shutil.copytree(index, tmp_path / "gallery.index")
    return tmp_path


def answers(command: Command, photos: Path) -> list[Any]:
    done = command("search", next((photos / "test").rglob("*.jpg")), "--json")
    assert done.code == 0
    hits: list[Any] = json.loads(done.out)
    return hits


@pytest.mark.parametrize(
    ("limit", "file"), [(200, "pending/"), (3_000, "items.sqlite"), (0, "pending/")]
)
def test_a_full_disk_leaves_the_index_as_it_was(
    command: Command, workspace: Path, photos: Path, limit: int, file: str
) -> None:
    before, hits = snapshot(workspace), answers(command, photos)
    with file_size_limit(limit):
        done = command("index", "build", photos / "test")
    refused(done, 1, file)
    pending = {name for name in snapshot(workspace) if "/pending/" in name}
    assert {name: v for name, v in snapshot(workspace).items() if name not in pending} == before
    assert answers(command, photos) == hits


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("syncs", range(7))
def test_a_disk_that_fills_at_any_sync_leaves_the_index_as_it_was(
    command: Command, workspace: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, syncs: int
) -> None:
    before, hits = snapshot(workspace), answers(command, photos)
    left = [None] * syncs
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: left.pop() if left else no_space())
        done = command("index", "build", photos / "test")
    refused(done, 1, "No space left on device")
    after = snapshot(workspace)
    assert {name: after.get(name) for name in before} == before
    assert answers(command, photos) == hits


def test_a_build_after_a_failed_one_succeeds_and_clears_up(
    command: Command, workspace: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", no_space)
        refused(command("index", "build", photos / "test"), 1, "No space left on device")
    assert command("index", "build", photos / "test").code == 0
    segments = [path.name for path in (workspace / "gallery.index").glob("seg-*")]
    assert segments == ["seg-000002"]
    assert answers(command, photos)[0]["score"] > 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 3_000, 100_000])
def test_a_full_disk_leaves_the_bundle_as_it_was(
    command: Command, workspace: Path, run: Path, photos: Path, limit: int
) -> None:
    before, hits = snapshot(workspace), answers(command, photos)
    with file_size_limit(limit):
        done = command("export", run)
    refused(done, 1, "File too large")
    assert snapshot(workspace) == before
    assert [path.name for path in workspace.glob(".*")] == []
    assert answers(command, photos) == hits


FOREIGN = {
    "unknown files": {"thesis.tex": "years of work"},
    "a readme": {"README.md": "# Mine"},
    "another model": {"config.json": '{"model_type": "bert"}', "model.safetensors": "weights"},
    "an untyped model": {"config.json": "{}", "model.safetensors": "weights"},
    "a web page": {"manifest.json": '{"name": "app"}', "index.html": ""},
    "a web manifest": {"manifest.json": '{"name": "app"}'},
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("kind", ["index", "bundle"])
def test_a_folder_that_holds_something_else_is_not_touched(
    command: Command, bundle: Path, run: Path, photos: Path, tmp_path: Path, kind: str, what: str
) -> None:
    for name, content in FOREIGN[what].items():
        (tmp_path / "taken").mkdir(exist_ok=True)
        (tmp_path / "taken" / name).write_text(content)
    if kind == "index":
        done = command("index", "build", photos, "--bundle", bundle, "--out", "taken")
    else:
        done = command("export", run, "--out", "taken")
    refused(done, 1, "taken holds", "choose another folder")
    assert {p.name: p.read_text() for p in (tmp_path / "taken").iterdir()} == FOREIGN[what]


@pytest.mark.parametrize("kind", ["index", "bundle"])
def test_a_file_is_not_written_over(
    command: Command, bundle: Path, run: Path, photos: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "taken").write_text("mine")
    if kind == "index":
        done = command("index", "build", photos, "--bundle", bundle, "--out", "taken")
    else:
        done = command("export", run, "--out", "taken")
    refused(done, 1, "taken is a file", "choose another path")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_damaged_index_is_built_anew(command: Command, workspace: Path, photos: Path) -> None:
    (workspace / "gallery.index" / "manifest.json").write_bytes(b"\xff")
    assert command("index", "build", photos / "test").code == 0
    assert answers(command, photos)[0]["score"] > 0.9999


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that anyone can read, unlike pytest's own."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NO_IDS)
    try:
        yield
    finally:
        os.seteuid(0)


@needs_root
def test_a_folder_without_read_permission_is_listed(open_place: Path) -> None:
    checked_picture().save(open_place / "a.png")
    for name, mode in (("closed", 0o700), ("no names", 0o711), ("names only", 0o744)):
        (open_place / name).mkdir()
        checked_picture().save(open_place / name / "b.png")
        (open_place / name).chmod(mode)
    with as_nobody():
        found, skipped = find_images(open_place)
    assert found == [open_place / "a.png"]
    reasons = {bad.path.name: bad.reason for bad in skipped}
    assert reasons == dict.fromkeys(("closed", "no names", "names only"), "Permission denied")


@needs_root
def test_a_folder_of_pictures_without_read_permission_is_exit_1(
    command: Command, open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(open_place)
    (open_place / "closed").mkdir(0o700)
    with as_nobody():
        done = command("init", "closed")
    refused(done, 1, "cannot read folder closed: Permission denied")


@needs_root
def test_a_picture_without_read_permission_is_one_line(
    command: Command, workspace: Path, open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bundle", "gallery.index"):
        shutil.copytree(workspace / name, open_place / name)
    monkeypatch.chdir(open_place)
    checked_picture().save("secret.png")
    Path("secret.png").chmod(0o600)
    with as_nobody():
        done = command("search", "secret.png")
    refused(done, 1, "cannot read image 'secret.png': Permission denied")


@needs_root
@pytest.mark.parametrize("out", ["gallery.index", "new.index"])
def test_no_permission_to_write_leaves_the_index_as_it_was(
    command: Command, workspace: Path, open_place: Path, photos: Path, out: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("bundle", "gallery.index"):
        shutil.copytree(workspace / name, open_place / name)
    shutil.copytree(photos, open_place / "photos")
    monkeypatch.chdir(open_place)
    before = snapshot(open_place)
    with as_nobody():
        done = command("index", "build", "photos", "--out", out)
        searched = command("search", next(Path("photos").rglob("*.jpg")))
    refused(done, 1, "Permission denied", out)
    assert snapshot(open_place) == before
    assert searched.code == 0
