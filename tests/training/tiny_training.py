"""What the tests of collapse share: a MoCo training on drawn images, its encoder, its command."""

from pathlib import Path
from typing import Any

import torch

from fgembed.backbones import make_backbone
from fgembed.config import RunConfig
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.table import method_named
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import MeanPooling
from fgembed.resolve import resolve
from fgembed.training.run import run_training
from tests.conftest import TINY

CPU = torch.device("cpu")
SPEC = Preprocessing(size=32)


def settings(tiny_settings: dict[str, Any], **extra: Any) -> RunConfig:
    plain = {key: value for key, value in tiny_settings.items() if key != "eval"}
    learning = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}
    moco = {"method": {"name": "moco", "queue_size": 16}, "optimiser": learning}
    return resolve(plain | moco, extra, "tests")


def train(config: RunConfig, folder: Path) -> None:
    run_training(config, method_named(config.method.name), folder, lambda progress: None)


def tiny_encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(make_backbone(TINY, size=32), MeanPooling())


def tiny_command(tiny_settings: dict[str, Any], *assignments: str) -> list[str]:
    """The arguments of a MoCo training on drawn images."""
    tiny = ("workers=0", "backbone.weights=random", "preprocessing.size=64", "device=cpu",
            "optimiser.batch_size=8", "method.queue_size=16", "pooling.whitening=16")  # fmt: skip
    options = [part for text in (*tiny, *assignments) for part in ("--set", text)]
    images = str(tiny_settings["images"])
    return ["train", "--method", "moco", "--images", images, "--backbone", TINY, *options]
