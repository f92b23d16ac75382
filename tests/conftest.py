"""A small real workspace for all tests: drawn images, a run, its bundle, its index."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fgembed.demo.drawing import draw_set

TINY = "torchvision/resnet18:layer1"  # 64 channels, maps of 16 x 16 at 64 px, in milliseconds
TINY_VIT = "timm/test_vit"  # 64 channels, 6 layers, patches of 16 px
SPECIES, TRAIN, TEST, SIZE = 3, 8, 3, 64


@dataclass(frozen=True)
class Outcome:
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str

    def answer(self) -> Any:
        """The JSON that `--json` printed; fails if the command did."""
        assert self.code == 0, self.err
        return json.loads(self.out)


Command = Callable[..., Outcome]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train/<class>` with 24 images, `test/<class>` with 9, and masks."""
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    draw_set(folder, SPECIES, TRAIN, TEST, size=SIZE)
    return folder


@pytest.fixture(scope="session")
def tiny_settings(photos: Path) -> dict[str, Any]:
    """Settings of a run that takes a second."""
    return {
        "images": str(photos / "train"),
        "workers": 0,
        "threads": 1,
        "backbone": {"name": TINY, "weights": "random"},
        "preprocessing": {"size": SIZE},
        "pooling": {"whitening": 16},
        "eval": {"gallery": str(photos / "train"), "queries": str(photos / "test")},
    }


@pytest.fixture(scope="session")
def run(tiny_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one LCR epoch."""
    from fgembed.methods.table import method_named
    from fgembed.resolve import resolve
    from fgembed.training.run import run_training

    learning = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}
    lcr = {"method": {"name": "lcr", "queue_size": 16}, "optimiser": learning}
    config = resolve(tiny_settings, lcr, "tests")
    folder = tmp_path_factory.mktemp("workspace") / "runs" / "tiny"
    run_training(config, method_named("lcr"), folder, lambda progress: None)
    return folder


@pytest.fixture(scope="session")
def bundle(run: Path) -> Path:
    """The run's bundle."""
    from fgembed.export.run_source import Source
    from fgembed.export.write_bundle import export_bundle

    return export_bundle(Source.open(run), run.parent.parent / "bundle").folder


@pytest.fixture(scope="session")
def index(bundle: Path, photos: Path) -> Path:
    """A flat index of the training images."""
    from fgembed.bundle import Bundle
    from fgembed.index.changes.build import build_index

    folder = bundle.parent / "gallery.index"
    build_index(photos / "train", Bundle.open(bundle), folder)
    return folder


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command line in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FGEMBED_TRACEBACK", "1")

    def call(*arguments: object) -> Outcome:
        from fgembed.cli.main import main

        monkeypatch.setattr(sys, "argv", ["fgembed", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def small_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few hundred vectors get an approximate index."""
    monkeypatch.setattr("fgembed.index.segments.kinds.VECTORS_A_LIST", 5)
    monkeypatch.setattr("fgembed.index.segments.kinds.FLAT_BYTES", 0)
