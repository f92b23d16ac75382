"""Selecting an epoch: the images held out, and the best encoder stored with its training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fgembed.errors import ConfigError, IntegrityError
from fgembed.evaluation.floor_table import Selected
from fgembed.evaluation.protocol import Split
from fgembed.images.finding import find_images
from fgembed.methods.table import method_named
from fgembed.model.module_state import keep_modes
from fgembed.training.epoch_selection import Selection, held_out, selection_split
from fgembed.training.preparation import make_method
from fgembed.training.resuming.state_file import read_state_file, write_state_file
from fgembed.workspace import RunFolder
from tests.training.selecting import settings


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
