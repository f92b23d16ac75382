"""Whole runs that select an epoch: undisturbed, resumed, and reported by every command."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from fgembed.errors import IntegrityError
from fgembed.evaluation.floor_table import Selected
from fgembed.images.finding import find_images
from fgembed.methods.table import method_named
from fgembed.model.encoder_files import load_encoder
from fgembed.model.tensor_files import read_note, read_tensors
from fgembed.training.epoch_selection import selection_split
from fgembed.training.run import run_training
from tests.conftest import Command
from tests.end_to_end.refusals import refused
from tests.training.saved_runs import Killed
from tests.training.selecting import BEST, logged, settings, train


@pytest.mark.slow
def test_selecting_leaves_the_training_as_it_is(
    tiny_settings: dict[str, Any], tmp_path: Path, photos: Path
):
    """The losses with a holdout are those of a run on the remaining images alone."""
    config = settings(tiny_settings, "holdout")
    report = train(config, tmp_path / "holdout")
    remaining, _ = selection_split(config, find_images(photos / "train")[0])
    for path in remaining:
        copy = tmp_path / "remaining" / path.relative_to(photos / "train")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    plain = settings(tiny_settings, "last", images=str(tmp_path / "remaining"))
    assert train(plain, tmp_path / "last").images == report.images == 18
    assert report.held_out == 6
    for name in ("contrast", "rationale"):
        assert logged(tmp_path / "holdout", name) == logged(tmp_path / "last", name)
    assert len(logged(tmp_path / "holdout", "holdout recall@1")) == 3


@pytest.mark.slow
def test_the_run_ends_with_the_best_epoch_s_encoder(tiny_settings: dict[str, Any], tmp_path: Path):
    report = train(settings(tiny_settings, "holdout"), tmp_path / "run")
    scores = logged(tmp_path / "run", "holdout recall@1")
    precision = logged(tmp_path / "run", "holdout precision@10")
    best_of = scores.index(max(scores))
    expected = Selected("holdout", best_of + 1, max(scores), 6, precision[best_of])
    assert report.selected == expected
    best = read_tensors(tmp_path / "run" / BEST)
    encoder, _ = load_encoder(tmp_path / "run")
    saved = encoder.state_dict()
    trained = [name for name in best if not name.startswith("levels.")]  # calibrated afterwards
    assert all(torch.equal(saved[name], best[name]) for name in trained)


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [4, 5])
def test_a_killed_run_keeps_its_best_so_far(
    tiny_settings: dict[str, Any], tmp_path: Path, kill_at: int
):
    """Two steps an epoch; the report that kills comes after the best is stored and before the
    checkpoint, so an epoch that ended is scored again."""
    config = settings(tiny_settings, "holdout")
    complete = train(config, tmp_path / "complete")
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", kill_at)
    torch.manual_seed(99)
    killed = train(config, tmp_path / "killed")
    assert killed.selected == complete.selected
    assert killed.trained == complete.trained
    name = "holdout recall@1"
    assert logged(tmp_path / "killed", name) == logged(tmp_path / "complete", name)
    for file in (BEST, Path("encoder.safetensors")):
        first, second = (read_tensors(tmp_path / run / file) for run in ("complete", "killed"))
        assert all(torch.equal(first[key], second[key]) for key in first)
    notes = [read_note(tmp_path / run / BEST) for run in ("complete", "killed")]
    assert notes[0] == notes[1]


@pytest.mark.slow
def test_a_damaged_best_encoder_is_refused_before_more_is_trained(
    tiny_settings: dict[str, Any], tmp_path: Path
):
    config = settings(tiny_settings, "holdout")
    with pytest.raises(Killed):
        train(config, tmp_path / "run", kill_at=3)
    file = tmp_path / "run" / BEST
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="is damaged"):
        train(config, tmp_path / "run", kill_at=4)


@pytest.mark.slow
def test_a_selection_on_the_test_images_is_reported_by_every_command(
    command: Command, tiny_settings: dict[str, Any], tmp_path: Path
):
    words = "selected on the test images: biased"
    train(settings(tiny_settings, "test"), tmp_path / "runs" / "biased")
    report = json.loads((tmp_path / "runs" / "biased" / "report.json").read_text())
    assert report["selected"]["how"] == "test"
    assert any(words in note for note in report["table"]["notes"])
    assert words in command("evaluate", "biased").out
    assert words in json.loads(command("evaluate", "biased", "--json").out)["notes"][0]
    assert command("export", "biased", "--onnx").code == 0
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert card.count(words) == 2  # the table of facts and the scores
    assert words in command("evaluate", "bundle").out


def test_an_untrained_run_selects_no_epoch(
    command: Command, tiny_settings: dict[str, Any], tmp_path: Path
):
    config = settings(tiny_settings, "test", method={"name": "none"})
    config = config.model_copy(
        update={"method": type(config.method).model_validate({"name": "none"})}
    )
    report = run_training(config, method_named("none"), tmp_path / "run", lambda _: None)
    assert report.selected is None
    assert report.table is not None
    assert report.table.notes == []
    assert 'select = "last"' in (tmp_path / "run" / "config.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--select", "best"], ["select", "'holdout'", "got 'best'"]),
        (["--select", "test"], ["select = 'test'", "eval.queries"]),
        (["--set", "holdout_share=0.9"], ["holdout_share", "0.5", "got 0.9"]),
        (["--select", "holdout"], ["in no class folder", "set select to 'last'"]),
    ],
)
def test_an_impossible_selection_is_refused_before_anything_is_written(
    command: Command, photos: Path, arguments: list[str], words: list[str]
):
    flat = next(path for path in sorted((photos / "train").iterdir()) if path.is_dir())
    images = ("--images", flat, "--backbone", "torchvision/resnet18:layer1", "--weights", "random")
    refused(command("train", *images, *arguments), 2, *words)
    assert not Path("runs").exists()
