"""Settings of a distilled run that takes seconds, and what it learns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fgembed.config import RunConfig
from fgembed.model.reading.fitting import FitSettings
from fgembed.resolve import resolve
from fgembed.training.preparation import Prepared
from fgembed.training.teachers.targets import read_by, start_by
from tests.conftest import TINY

CPU = torch.device("cpu")
SIDES = (64, 96, 128)  # 1, 1.4 and 1.8 x 64, to the next multiple of 32
WEIGHTS = (2.0, 1.0, 1.0)  # its own size as much as both larger ones


def settings(images: Path, **extra: Any) -> RunConfig:
    tiny = {
        "images": str(images),
        "workers": 0,
        "threads": 1,
        "method": {"name": "distill"},
        "backbone": {"name": TINY, "weights": "random"},
        "preprocessing": {"size": 64},
        "pooling": {"whitening": 16},
        "optimiser": {"epochs": 4, "batch_size": 8, "log_every_step": True},
    }
    return resolve(tiny, extra, "tests")


def read_again(prepared: Prepared, paths: list[Path]) -> torch.Tensor:
    """What the run learns of these images."""
    config = prepared.config
    fit = FitSettings.of(config.pooling)
    specs = [replace(config.preprocessing, size=side) for side in SIDES]
    teachers = start_by(specs, prepared.start, 64, fit, CPU)
    return read_by(teachers, paths, fit.dimensions, WEIGHTS)
