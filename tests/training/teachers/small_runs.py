"""Settings of a distilled run that takes seconds."""

from pathlib import Path
from typing import Any

from fgembed.config import RunConfig
from fgembed.resolve import resolve
from tests.conftest import TINY


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
