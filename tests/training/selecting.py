"""What the tests of epoch selection share: an LCR training that selects, and may be killed."""

import json
from pathlib import Path
from typing import Any

from fgembed.config import RunConfig
from fgembed.methods.table import method_named
from fgembed.resolve import resolve
from fgembed.training.loop import Progress
from fgembed.training.run import run_training
from fgembed.training.run_report import RunReport
from tests.training.saved_runs import Killed

BEST = Path("state") / "best.safetensors"


def settings(tiny_settings: dict[str, Any], select: str, **extra: Any) -> RunConfig:
    learning = {"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "log_every_step": True}
    lcr = {"method": {"name": "lcr", "queue_size": 16}, "optimiser": learning}
    selection = {"select": select, "holdout_share": 0.25}
    return resolve(tiny_settings | lcr, selection | extra, "tests")


def train(config: RunConfig, folder: Path, kill_at: int | None = None) -> RunReport:
    def report(progress: Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    return run_training(config, method_named("lcr"), folder, report)


def logged(folder: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]
