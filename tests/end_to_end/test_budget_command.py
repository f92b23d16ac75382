"""`fgembed train --budget`: what it says and writes, and what a resumed run makes of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from fgembed.disk.files import read_toml
from fgembed.methods.table import method_named
from fgembed.model.tensor_files import read_tensors
from fgembed.resolve import resolve
from fgembed.training.costs.stages import Rates
from fgembed.training.run import run_training
from fgembed.workspace import RunFolder
from tests.conftest import Command
from tests.end_to_end.refusals import refused


@pytest.fixture
def settings(tmp_path: Path, tiny_settings: dict[str, Any]) -> Path:
    """Settings of four epochs as `fgembed.toml`."""
    extra = {"method": {"name": "distill"}, "optimiser": {"batch_size": 8, "epochs": 4}}
    file = tmp_path / "fgembed.toml"
    file.write_text(tomli_w.dumps(tiny_settings | extra))
    return file


@pytest.fixture
def minute_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch takes a minute, all else nothing, whatever is measured."""
    rates = Rates(decoding_s=0, plain_s=0, mirrored_s=0, epoch_s=60, fit_s=0)
    monkeypatch.setattr("fgembed.training.dry_run.measured_rates", lambda *measured: rates)


def test_what_fits_is_said_trained_and_written_as_ordinary_settings(
    command: Command, settings: Path, minute_epochs: None
):
    done = command("train", "--budget", "2.6", "--run", "mine")
    assert done.code == 0, done.err
    assert "budget of 2.6 min: 2 of 4 epochs fit, about 2.0 min in all\n" in done.err
    assert re.search(r"^  training, 2 x 3 steps +2\.0$", done.err, re.MULTILINE)
    config = Path("runs/mine/config.toml")
    assert read_toml(config)["optimiser"]["epochs"] == 2
    assert "budget" not in config.read_text()
    written = config.read_bytes()
    again = command("train", "--resume", "--run", "mine")
    assert (again.code, "budget" in again.err) == (0, False)
    assert config.read_bytes() == written
    assert "images/s" in done.out.splitlines()[4]


def test_where_no_epoch_fits_the_run_is_the_fitted_start(
    command: Command, settings: Path, minute_epochs: None
):
    done = command("train", "--budget", "1")
    assert done.code == 0, done.err
    assert (
        "budget of 1 min: no epoch fits, nothing is trained, the run is the fitted start, about "
        "< 0.1 min in all\n"
    ) in done.err
    assert "guard: passed: nothing was trained, this is the calibrated start itself" in done.out
    assert done.out.startswith("runs/none-1: none on 24 images")


def test_a_dry_run_prints_the_settings_that_fit(
    command: Command, settings: Path, minute_epochs: None
):
    done = command("train", "--dry-run", "--budget", "4")
    assert done.code == 0, done.err
    assert done.err.endswith("budget of 4 min: 3 of 4 epochs fit, about 3.0 min in all\n")
    assert "# steps        3 per epoch, 9 in total" in done.out
    assert "\nepochs = 3\n" in done.out
    assert not Path("runs").exists()


@pytest.mark.parametrize("minutes", ["0", "-3", "nan", "inf"])
def test_nonsense_is_refused_before_anything_is_measured(
    command: Command, settings: Path, minutes: str
):
    for more in ((), ("--dry-run",), ("--resume",)):
        done = command("train", f"--budget={minutes}", *more)
        refused(done, 2, f"--budget {minutes}", "give minutes")
        assert "measuring" not in done.err


def test_a_resumed_run_takes_no_budget(command: Command, settings: Path):
    refused(command("train", "--resume", "--budget", "5"), 2, "leave out --budget")


def test_a_run_tells_its_cost_before_it_begins_and_nothing_of_it_on_stdout(
    command: Command, settings: Path
):
    done = command("train", "--json")
    assert done.answer()["method"] == "distill"
    lines = done.err.splitlines()
    assert lines[0] == "measuring what this costs here, on a few images and steps"
    assert lines[1].split() == ["encoder", "px", "mirror", "levels", "D", "images/s"]
    assert lines[2].startswith("  as it will be exported")
    begins = lines.index("checking 24 images")
    assert lines[begins - 1].startswith("  in all ")
    assert set(done.answer()["table"]["speed"]) == {
        row["encoder"] for row in done.answer()["table"]["rows"]
    }


def test_what_is_measured_before_a_run_does_not_change_it(
    command: Command, settings: Path, tmp_path: Path
):
    assert command("train", "--run", "told").code == 0
    config = resolve(read_toml(settings), {}, "tests")
    run_training(config, method_named("distill"), tmp_path / "untold", lambda progress: None)
    told, untold = RunFolder(Path("runs/told")), RunFolder(tmp_path / "untold")
    complete, other = (read_tensors(run.encoder.weights) for run in (told, untold))
    assert complete.keys() == other.keys()
    assert all(torch.equal(complete[name], other[name]) for name in complete)
