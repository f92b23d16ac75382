"""Training where loader processes have no room, place or right for what they usually need."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SIZE, TINY

FGEMBED = "from fgembed.cli.main import run; run()"
ALWAYS_SHARE = "from fgembed.data import batch_transport as t; t.sharing_works = lambda *_: True; "
# /dev without shm, null or tty; torch cannot be imported without urandom.
BARE_DEV = """touch urandom && mount --bind /dev/urandom urandom && mount -t tmpfs tmpfs /dev
touch /dev/urandom && mount --bind urandom /dev/urandom"""
# What lies in them stays readable: the checkout may.
READ_ONLY_TMP = """mount --bind . /mnt && cd /mnt && for folder in /tmp /var/tmp
do mount --bind $folder $folder && mount -o remount,bind,ro $folder; done"""
SMALL = "mount -t tmpfs -o size=64k tmpfs /dev/shm"


def mounts_work() -> bool:
    """Whether this machine lets us mount in a namespace of our own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return subprocess.run(command, capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not mounts_work(), reason="needs mount namespaces (root)"),
]


@pytest.mark.parametrize(
    "preparation",
    [
        SMALL,
        "mount -t tmpfs -o ro tmpfs /dev/shm",
        "mount -t tmpfs -o size=4k,nr_inodes=2 tmpfs /dev/shm && touch /dev/shm/full",
        BARE_DEV,
        "TMPDIR=$PWD/" + "/".join(["long" * 20] * 3) + " && mkdir -p $TMPDIR && export TMPDIR",
        READ_ONLY_TMP,
        "export TMPDIR=/nowhere",
        "ulimit -n 64",
    ],
    ids=["small", "read-only", "full", "no /dev", "long TMPDIR", "read-only TMPDIR",
         "no TMPDIR", "descriptors"],
)  # fmt: skip
def test_a_training_with_loader_processes_ends_well(preparation: str, photos: Path, tmp_path: Path):
    told = trained(preparation, FGEMBED, photos, tmp_path)
    assert told.count("; going on with") <= 2 and told.count("pipes are used") <= 1


def test_shared_memory_that_runs_out_later_is_left_for_pipes(photos: Path, tmp_path: Path):
    told = trained(SMALL, ALWAYS_SHARE + FGEMBED, photos, tmp_path)
    assert "cannot hand over a batch (" in told and "No space left on device" in told
    assert "; going on with 2" in told and "going on without" not in told


def trained(preparation: str, code: str, photos: Path, tmp_path: Path) -> str:
    """What a training with two loader processes says on the standard error stream."""
    shutil.copytree(photos / "train", tmp_path / "photos")
    settings = ["optimiser.epochs=2", "optimiser.batch_size=8", f"preprocessing.size={SIZE}"]
    settings += ["workers=2", "threads=1", "pooling.whitening=8", "views.side=1"]
    options = [part for text in settings for part in ("--set", text)]
    start = ["train", "--images", "photos", "--backbone", TINY, "--weights", "random"]
    line = [sys.executable, "-c", code, *start, "--method", "moco", *options]
    shell = ["unshare", "--mount", "sh", "-c", f'{preparation} && exec "$@"', "sh", *line]
    # Another test's torch may have named a cache in /tmp to all of its children.
    environment = {name: v for name, v in os.environ.items() if not name.startswith("TORCHIND")}
    done = subprocess.run(
        shell, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "runs" / "moco-1" / "report.json").is_file()
    return done.stderr
