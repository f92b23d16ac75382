"""Kills and full disks at any moment: the old index or the new index, complete, and no remains."""

import multiprocessing
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fgembed.index.changes.remove import remove_ids
from fgembed.index.format.manifest import Manifest
from fgembed.index.tools.verify import verify
from tests.index.changing import COUNT, NAMES, NEW, add, change
from tests.index.making import KIND_SETTINGS, make_index, open_index, unit_vectors

# `make proof` runs many more.
KILLS = int(os.environ.get("FGEMBED_KILLS", "24"))
pytestmark = pytest.mark.proof
# Children come from a server that has never used FAISS's threads, which do not outlive a fork.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.index.changing"])


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 vectors in three files."""
    folder = tmp_path_factory.mktemp("imported") / "embeddings"
    (folder / "img_emb").mkdir(parents=True)
    for part, rows in enumerate(np.split(unit_vectors(1500, seed=5), 3)):
        np.save(folder / "img_emb" / f"img_emb_{part:04}.npy", rows)
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two segments with some vectors removed."""
    folder = tmp_path_factory.mktemp("before") / "i"
    make_index(folder, unit_vectors(COUNT - NEW), KIND_SETTINGS["ivfpq"])
    add(folder, seed=1)
    remove_ids(folder, np.arange(0, COUNT, 9))
    return folder


State = dict[int, tuple[Path, bytes]]


def state(folder: Path) -> State:
    """What a search can find: every live id with its path and its vector."""
    index = open_index(folder)
    ids = np.sort(index.live_ids()).tolist()
    paths, vectors = index.paths(ids), index.reconstruct(np.array(ids))
    return {id_: (paths[id_], row.tobytes()) for id_, row in zip(ids, vectors, strict=True)}


def killed_at(name: str, folder: Path, embeddings: Path, after_s: float) -> None:
    child = PROCESSES.Process(target=change, args=(name, folder, embeddings))
    child.start()
    time.sleep(after_s)
    child.kill()
    child.join()


def assert_complete(folder: Path, allowed: list[State]) -> int:
    """The index is one of the allowed states, proved; gives which."""
    assert verify(folder).problems == []
    current = state(folder)
    assert current in allowed
    return allowed.index(current)


@pytest.mark.parametrize("name", NAMES)
def test_killed_at_any_moment_the_index_is_the_old_or_the_new_index(
    name: str, before: Path, embeddings: Path, tmp_path: Path
):
    shutil.copytree(before, tmp_path / "new")
    started = time.monotonic()
    child = PROCESSES.Process(target=change, args=(name, tmp_path / "new", embeddings))
    child.start()
    child.join()
    change_s = time.monotonic() - started
    assert child.exitcode == 0
    allowed = [state(before), state(tmp_path / "new")]
    assert allowed[0] != allowed[1] or name == "compact"
    folder = tmp_path / "i"
    shutil.copytree(before, folder)
    seen = []
    generator = random.Random(name)
    for _ in range(KILLS // 4):
        killed_at(name, folder, embeddings, generator.uniform(0, 1.1 * change_s))
        seen.append(assert_complete(folder, allowed))
        if seen[-1] == 1:
            shutil.rmtree(folder)
            shutil.copytree(before, folder)
    change(name, folder, embeddings)  # remains of killed changes do no harm
    assert state(folder) == allowed[1]
    named = {segment.name for segment in Manifest.read(folder).segments}
    assert {path.name for path in folder.glob("seg-*")} == named
    assert not list(folder.glob(".*tmp-*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts an empty file system of a size in bytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted: list[bool] = []

    def make(size: int) -> Path:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)], check=True)
            mounted.clear()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)],
            check=False, capture_output=True,
        )  # fmt: skip
        if done.returncode:
            pytest.skip("needs the right to mount a small file system")
        mounted.append(True)
        return disk

    yield make
    if mounted:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
@pytest.mark.parametrize("name", NAMES)
def test_a_disk_that_is_full_after_any_page_leaves_the_old_or_the_new_index(
    name: str, before: Path, embeddings: Path, small_disk: Callable[[int], Path]
):
    """The disk has room for one page more each time, until the change succeeds."""
    old = state(before)
    used = sum(-(-p.stat().st_size // 4096) * 4096 for p in before.rglob("*") if p.is_file())
    failed = 0
    for pages in range(0, 400, 1 if name == "remove" else 4):
        folder = small_disk(used + 4096 * pages) / "i"
        try:
            shutil.copytree(before, folder)
        except OSError:
            continue  # no room for the old index
        try:
            change(name, folder, embeddings)
        except OSError as error:
            failed += 1
            assert error.strerror
            assert_complete(folder, [old])
            assert not list(folder.glob(".*tmp-*"))
            continue
        assert verify(folder).problems == []
        break
    else:
        pytest.fail("it never had enough")
    assert failed >= 1
