"""Runs that are resumed."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from fgembed.methods.lcr import LCR
from fgembed.resolve import resolve
from fgembed.training.loop import Progress
from fgembed.training.run import run_training
from fgembed.workspace import RunFolder
from tests.training.saved_runs import Killed, SavedRun, copied


@pytest.fixture(scope="module")
def original(
    tiny_settings: dict[str, Any], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> SavedRun:
    folder = tmp_path_factory.mktemp("resume")
    shutil.copytree(photos / "train", folder / "images")
    settings = {
        "images": str(folder / "images"),
        "method": {"name": "lcr", "queue_size": 16},
        "optimiser": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "log_every_step": True},
    }
    plain = {key: value for key, value in tiny_settings.items() if key != "eval"}

    def report(progress: Progress) -> None:
        if progress.step == 5:
            raise Killed

    run = folder / "runs" / "killed"
    with pytest.raises(Killed):
        run_training(resolve(plain, settings, "tests"), LCR, run, report)
    return SavedRun(RunFolder(run), folder / "images")


@pytest.fixture
def killed(original: SavedRun, tmp_path: Path) -> SavedRun:
    """A copy for a test of its own."""
    return copied(original, tmp_path)


@pytest.fixture
def saved(run: Path, photos: Path, tmp_path: Path) -> SavedRun:
    """A copy of the finished run, of one epoch: resuming it needs no training."""
    return copied(SavedRun(RunFolder(run), photos / "train"), tmp_path)
