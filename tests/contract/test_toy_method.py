"""A new method is one new file and two lines in the table: its import and its entry."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SIZE, TINY
from tests.mutations import COPIED, ROOT, copy_source

TABLE = Path("fgembed/methods/table.py")
FILE = Path("fgembed/methods/toy.py")
LINE = '    "toy": Toy,\n'
IMPORT = "from fgembed.methods.toy import Toy\n"
TOY = '''\
"""A toy: two views of an image agree, images keep apart (arXiv:2005.10242)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fgembed.config import Settings
from fgembed.model.encoder import Encoder
from fgembed.methods.base import Method


class Toy(Method):
    """mean |a - b|^2 + spread x log mean exp(-2 |a_i - a_j|^2), of unit vectors."""

    class Config(Settings):
        """Settings of the toy."""

        dimensions: int = Field(32, ge=2)
        spread: float = Field(1.0, ge=0)

    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, config)
        self.projector = nn.Linear(encoder.backbone.channels, config.dimensions)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The agreement of two views and the spread of the first."""
        first, second = (self._project(view) for view in views)
        agreement = (first - second).square().sum(dim=1).mean()
        spread = torch.pdist(first).square().mul(-2).exp().mean().log()
        return {"agreement": agreement, "spread": self.config.spread * spread}

    def _project(self, images: Tensor) -> Tensor:
        pooled = self.encoder.features(images).mean(dim=(2, 3))
        return F.normalize(self.projector(pooled).float(), dim=1)
'''


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with the toy in it."""
    folder = tmp_path_factory.mktemp("source")
    copy_source(folder)
    table = (folder / TABLE).read_text()
    table = table.replace("from fgembed.text", IMPORT + "from fgembed.text")
    (folder / TABLE).write_text(table.replace("] = {\n", "] = {\n" + LINE))
    (folder / FILE).write_text(TOY)
    return folder


def python(source: Path, folder: Path, *arguments: object) -> str:
    """What a process that reads the copy prints; it must succeed."""
    environment = os.environ | {"PYTHONPATH": str(source)}
    line = [sys.executable, *map(str, arguments)]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fgembed(source: Path, folder: Path, *arguments: object) -> str:
    """One command of the copy."""
    program = "from fgembed.cli.main import run; run()"
    return python(source, folder, "-c", program, *arguments)


def files(folder: Path) -> dict[Path, bytes]:
    """What was copied and its content."""
    inside = [path for entry in COPIED for path in ((folder / entry), *(folder / entry).rglob("*"))]
    return {
        path.relative_to(folder): path.read_bytes()
        for path in inside
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_the_contract_tests_find_the_toy_and_pass(source: Path):
    contract = "tests/contract/test_methods.py"
    output = python(source, source, "-m", "pytest", "-q", "-k", "toy", contract)
    passed = int(output.split(" passed")[0].split()[-1])
    promises = (source / contract).read_text().count("\ndef test_")
    assert passed == promises


@pytest.mark.slow
def test_the_toy_trains_and_exports_from_the_command_line(
    source: Path, photos: Path, tmp_path: Path
):
    output = fgembed(
        source, tmp_path, "train", "--method", "toy", "--images", photos / "train",
        "--backbone", TINY, "--weights", "random", "--set", f"preprocessing.size={SIZE}",
        "--set", "optimiser.batch_size=8", "--set", "optimiser.epochs=1",
        "--set", "method.spread=0.5", "--set", "workers=0", "--json",
    )  # fmt: skip
    assert json.loads(output)["method"] == "toy"
    run = tmp_path / "runs" / "toy-1"
    assert "spread = 0.5" in (run / "config.toml").read_text()
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["agreement"] >= 0 >= last["spread"]
    fgembed(source, tmp_path, "export", "--onnx", "--force")
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["method"] == "toy"
    assert (tmp_path / "bundle" / "onnx" / "model.onnx").is_file()


@pytest.mark.slow
def test_the_help_names_the_toy(source: Path, tmp_path: Path):
    assert "toy" in fgembed(source, tmp_path, "train", "--help")


def test_no_other_file_was_changed(source: Path):
    ours, theirs = files(ROOT), files(source)
    assert theirs.keys() - ours.keys() == {FILE}
    assert {path for path in ours if ours[path] != theirs[path]} == {TABLE}
    assert (
        theirs[TABLE].decode().replace(LINE, "", 1).replace(IMPORT, "", 1) == ours[TABLE].decode()
    )
    assert theirs[TABLE].count(b"\n") == ours[TABLE].count(b"\n") + 2
