"""Files fuzzed from real ones of every format: none crashes, hangs, leaks or shifts a row."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.fuzzing import damaged, originals

# `make proof` reads 2,000 files of each of three seeds.
FILES = int(os.environ.get("FGEMBED_FUZZED", "150"))
SEEDS = range(3 if FILES >= 2000 else 1)


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


@pytest.mark.proof
@pytest.mark.parametrize("seed", SEEDS)
def test_fuzzed_images_are_read_or_listed_and_memory_stays_flat(tmp_path: Path, seed: int):
    result = read_in_a_process(tmp_path, seed, FILES)
    reasons, memory = result["reasons"], result["memory_mb"]
    assert isinstance(reasons, dict)
    assert isinstance(memory, list)
    assert result["files"] == FILES
    assert result["read"] == FILES - len(reasons)
    assert result["shifted"] == []
    assert result["wavering"] == []
    assert result["skipped"] == len(reasons)
    assert all(reason and "\n" not in reason for reason in reasons.values())
    assert FILES / 10 < len(reasons) < FILES * 9 / 10
    half = len(memory) // 2
    assert max(memory[half:]) - max(memory[:half]) < 60


def test_the_originals_are_all_read_but_for_the_layouts_that_are_refused(tmp_path: Path):
    for number, content in enumerate(originals()):
        (tmp_path / f"{number:05}.bin").write_bytes(content)
    reasons = read_in_a_process(tmp_path, 0, 0)["reasons"]
    assert isinstance(reasons, dict)
    assert len(reasons) == 3
    assert all("save it again with 8 bits" in reason for reason in reasons.values())
