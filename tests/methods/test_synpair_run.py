"""SynPair in the trainer: bank, decoder and its Adam survive a kill."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fgembed.config import RunConfig
from fgembed.methods.table import method_named
from fgembed.model.tensor_files import read_tensors
from fgembed.resolve import resolve
from fgembed.training.loop import Progress
from fgembed.training.run import run_training


class Killed(BaseException):
    """Stands in for a kill: nothing in the product catches it."""


def train(config: RunConfig, folder: Path, kill_at: int | None = None) -> list[dict[str, float]]:
    """The losses of each step."""

    def report(progress: Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    run_training(config, method_named("synpair"), folder, report)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = ("step", "contrast", "reconstruction", "pair")
    return [{name: line[name] for name in names if name in line} for line in lines]


@pytest.mark.slow
def test_a_run_killed_after_its_warm_up_continues_exactly(
    tiny_settings: dict[str, Any], tmp_path: Path
):
    plain = {key: value for key, value in tiny_settings.items() if key != "eval"}
    learning = {"epochs": 3, "batch_size": 8, "log_every_step": True}
    method = {"name": "synpair", "queue_size": 16, "bank_size": 20, "ramp_share": 0.5}
    config = resolve(plain, {"method": method, "optimiser": learning}, "tests")
    straight = train(config, tmp_path / "straight")
    assert ["pair" in line for line in straight] == [False] * 4 + [True] * 5
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", kill_at=8)
    torch.manual_seed(99)  # the resumed process starts with other random numbers
    assert train(config, tmp_path / "killed") == straight
    first, second = (
        read_tensors(tmp_path / n / "encoder.safetensors") for n in ("straight", "killed")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
