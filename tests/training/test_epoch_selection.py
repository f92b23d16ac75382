"""Selecting an epoch: the images held out, the encoder stored, the training undisturbed."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fgembed.config import RunConfig
from fgembed.errors import ConfigError, IntegrityError
from fgembed.evaluation.floor_table import Selected
from fgembed.evaluation.protocol import Split
from fgembed.images.finding import find_images
from fgembed.methods.table import method_named
from fgembed.model.encoder_files import load_encoder
from fgembed.model.module_state import keep_modes
from fgembed.model.tensor_files import read_note, read_tensors
from fgembed.resolve import resolve
from fgembed.training.epoch_selection import Selection, held_out, selection_split
from fgembed.training.loop import Progress
from fgembed.training.preparation import make_method
from fgembed.training.resuming.state_file import read_state_file, write_state_file
from fgembed.training.run import run_training
from fgembed.training.run_report import RunReport
from fgembed.workspace import RunFolder
from tests.conftest import Command
from tests.end_to_end.refusals import refused

BEST = Path("state") / "best.safetensors"


class Killed(BaseException):
    """Stands in for a kill: nothing in the product catches it."""


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


def test_a_share_is_held_out_evenly_over_the_classes():
    labels = np.repeat(["a", "b", "c", "d"], [40, 20, 10, 1])
    out = held_out(labels, 0.1, seed=3)
    assert [int((labels[out] == name).sum()) for name in "abcd"] == [4, 2, 1, 0]
    assert out.tolist() == held_out(labels, 0.1, seed=3).tolist()
    assert out.tolist() != held_out(labels, 0.1, seed=4).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_every_class_keeps_an_image_and_at_least_1_is_held_out(seed: int):
    labels = np.repeat(["a", "b", "c"], [2, 2, 3])
    half = held_out(labels, 0.5, seed)
    assert all((~half)[labels == name].any() for name in "abc")
    assert 3 <= half.sum() <= 4
    assert held_out(labels, 0.01, seed).sum() == 1


def test_classes_of_a_single_image_are_refused():
    with pytest.raises(ConfigError, match="none of 3 class folders holds two"):
        held_out(np.array(["a", "b", "c"]), 0.1, seed=0)


def test_held_out_images_are_queries_against_the_rest(tiny_settings: dict[str, Any], photos: Path):
    paths, _ = find_images(photos / "train")
    remaining, split = selection_split(settings(tiny_settings, "holdout"), paths)
    assert split is not None
    assert (len(remaining), len(split.queries.paths)) == (18, 6)
    assert sorted([*remaining, *split.queries.paths]) == paths
    assert split.gallery.paths == remaining
    assert not split.leave_one_out
    assert split.queries.labels[split.queries.paths[0]] == split.queries.paths[0].parent.name


def test_the_mode_of_every_module_is_restored():
    module = nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(), nn.ReLU()))
    module.train()
    module[0].eval()
    with keep_modes(module):
        module.eval()
    assert [part.training for part in module.modules()] == [True, False, True, True, True]


def test_the_best_epoch_is_stored_and_a_tie_goes_to_the_first(
    tiny_settings: dict[str, Any], tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    """Recall 0.2, 0.6, 0.6, 0.4 over four epochs whose encoders differ in one number."""
    config = settings(tiny_settings, "test")
    method = make_method(config, method_named("lcr"))
    split = Split.find(photos / "train", photos / "test")
    recalls = iter([2, 6, 6, 4])

    class Scored:
        def scores(self) -> Any:
            right = np.arange(10) < next(recalls)
            scores = {"recall": {1: right * 1.0}, "precision_at_10": right * 0.5}
            return type("Scores", (), scores)

    monkeypatch.setattr("fgembed.training.epoch_selection.EmbeddedSplit.embed", lambda *_: Scored())
    marker = next(method.encoder.parameters())
    for epoch in range(4):
        # a new object each time: a resumed run reads the best epoch before it
        selection = Selection(
            method.encoder, split, config, RunFolder(tmp_path), torch.device("cpu"), epoch
        )
        with torch.no_grad():
            marker.fill_(epoch)
        figures = selection.score_epoch(epoch)
        recall = [0.2, 0.6, 0.6, 0.4][epoch]
        assert figures == pytest.approx({"test recall@1": recall, "test precision@10": recall / 2})
    assert selection.restore() == Selected("test", 2, 0.6, 10, precision_at_10=0.3)
    assert float(marker.detach().mean()) == 1.0


def test_a_best_encoder_counts_only_for_epochs_of_the_checkpoint(
    tiny_settings: dict[str, Any], tmp_path: Path, photos: Path
):
    """One that a dropped training left is not read; one that is missing is no other epoch's."""
    config, run = settings(tiny_settings, "test"), RunFolder(tmp_path)
    method = make_method(config, method_named("lcr"))
    split = Split.find(photos / "train", photos / "test")
    run.best.parent.mkdir()
    run.best.write_bytes(b"of a dropped training")
    arguments = (method.encoder, split, config, run, torch.device("cpu"))
    assert Selection(*arguments).best is None
    with pytest.raises(IntegrityError, match=r"best\.safetensors is damaged"):
        Selection(*arguments, epochs_done=1)
    run.best.unlink()
    with pytest.raises(IntegrityError, match=r"is missing, .* remove .*state to train again"):
        Selection(*arguments, epochs_done=1)


def test_the_best_encoder_of_another_training_is_refused(
    tiny_settings: dict[str, Any], tmp_path: Path, photos: Path
):
    config, run = settings(tiny_settings, "test"), RunFolder(tmp_path)
    method = make_method(config, method_named("lcr"))
    split = Split.find(photos / "train", photos / "test")
    arguments = (method.encoder, split, config, run, torch.device("cpu"))
    Selection(*arguments, fingerprint="one").score_epoch(0)
    assert Selection(*arguments, epochs_done=1, fingerprint="one").best is not None
    with pytest.raises(IntegrityError, match=r"best\.safetensors is of another training than"):
        Selection(*arguments, epochs_done=1, fingerprint="another")
    tensors, note = read_state_file(run.best)
    del note["training"], note["precision_at_10"]  # as an earlier fgembed wrote it
    write_state_file(run.best, tensors, note)
    best = Selection(*arguments, epochs_done=1, fingerprint="another").best
    assert best is not None
    assert best.sentence().endswith(" %, selected on the test images: biased")
    assert "precision@10" not in best.sentence()


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
