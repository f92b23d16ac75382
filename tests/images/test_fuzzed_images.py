"""Files fuzzed from real ones of every format: none crashes, hangs, leaks or shifts a row."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.fuzzing import damaged, originals

SHARE = 150
LENGTH = int(os.environ.get("FGEMBED_FUZZED", "2000"))


def read_in_a_process(folder: Path, seed: int, count: int) -> dict[str, object]:
    for number, content in enumerate(damaged(seed, count)):
        (folder / f"{number:05}.bin").write_bytes(content)
    command = [sys.executable, "-m", "tests.images.fuzzing", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    current = folder / "current"
    name = current.read_text() if current.exists() else "none"
    assert done.returncode == 0, f"{done.returncode} at {folder / name}:\n{done.stderr[-2000:]}"
    result: dict[str, object] = json.loads(done.stdout)
    return result


def check(folder: Path, seed: int, count: int) -> dict[str, object]:
    result = read_in_a_process(folder, seed, count)
    reasons = result["reasons"]
    assert isinstance(reasons, dict)
    assert result["files"] == count
    assert result["read"] == count - len(reasons)
    assert result["skipped"] == len(reasons)
    assert result["shifted"] == []
    assert all(reason and "\n" not in reason for reason in reasons.values())
    return result


def test_fuzzed_images_are_read_or_listed(tmp_path: Path):
    result = check(tmp_path, seed=0, count=SHARE)
    assert 20 < int(str(result["read"])) < SHARE - 20


def test_the_originals_are_all_read_but_for_the_layouts_that_are_refused(tmp_path: Path):
    for number, content in enumerate(originals()):
        (tmp_path / f"{number:05}.bin").write_bytes(content)
    result = read_in_a_process(tmp_path, 0, 0)
    reasons = result["reasons"]
    assert isinstance(reasons, dict)
    assert len(reasons) == 3
    assert all("save it again with 8 bits" in reason for reason in reasons.values())


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_thousand_fuzzed_images_leave_memory_flat(tmp_path: Path, seed: int):
    result = check(tmp_path, seed, LENGTH)
    memory = result["memory_mb"]
    assert isinstance(memory, list)
    half = len(memory) // 2
    assert max(memory[half:]) - max(memory[:half]) < 60
