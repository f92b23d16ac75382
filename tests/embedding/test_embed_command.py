"""`fgembed embed`: a list from standard input, shares, and kills at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.embedding.shards import embed_into
from fgembed.images.sources import Listing, list_images
from tests.conftest import Command
from tests.embedding.embedded_parts import read

RUN = "from fgembed.cli.main import run; run()"


def test_the_command_embeds_a_list_from_standard_input(
    command: Command, bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = sorted(str(path) for path in (photos / "test").rglob("*.jpg"))
    monkeypatch.setattr(sys, "stdin", [f"{path}\n" for path in paths])
    done = command("embed", "-", "--bundle", bundle, "--json", "--part-size", 4)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {
        "out": "embeddings", "dimensions": 16, "parts": 3, "written": 3, "found": 0,
        "embedded": 9, "skipped": 0, "passed_over": 0,
    }  # fmt: skip
    assert read(Path("embeddings"))[1]["image_path"] == paths


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "a/b", "1/0", "²/3"])
def test_a_malformed_share_is_refused(command: Command, share: str, photos: Path):
    done = command("embed", photos, "--shard", share)
    assert done.code == 2
    assert "is not I/N with I from 1 to N" in done.err


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_without_gaps_or_duplicates(bundle, photos, tmp_path):
    """Ten kills while 5,000 images are embedded; then the bytes of an uninterrupted run."""
    images = list_images([photos]).images
    listing = Listing([images[number % len(images)] for number in range(5000)])
    embed_into(tmp_path / "uninterrupted", listing, Bundle.open(bundle), part_size=100)
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in listing.images))
    arguments = ["embed", tmp_path / "list.txt", "--bundle", bundle, "--part-size", "100"]
    command = [sys.executable, "-c", RUN, *arguments, "--out", tmp_path / "killed"]
    random = np.random.default_rng(0)
    for written in np.sort(random.choice(45, 10, replace=False)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while parts(tmp_path / "killed") < written and process.poll() is None:
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.2))  # anywhere in the part that is being written
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    for expected, resumed in zip(
        read(tmp_path / "uninterrupted"), read(tmp_path / "killed"), strict=True
    ):
        np.testing.assert_equal(resumed, expected)
    leftovers = [path.name for path in (tmp_path / "killed").rglob("*") if ".tmp-" in path.name]
    assert leftovers == []


def parts(folder: Path) -> int:
    return len(list(folder.glob("metadata/*.parquet")))
