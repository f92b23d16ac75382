"""A run with labels: its last layer, its report, its export, and labels that change later."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fgembed.bundle import Bundle
from fgembed.config import RunConfig
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import NotFoundError
from fgembed.export.run_source import Source
from fgembed.export.write_bundle import export_bundle
from fgembed.images.finding import find_images
from fgembed.methods.table import method_named
from fgembed.model.encoder_files import load_encoder
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.resolve import resolve
from fgembed.training.dry_run import dry_run
from fgembed.training.run import run_training
from fgembed.training.run_report import RunReport
from tests.conftest import Command
from tests.training.labels.projections import expected_projection, projection

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def few(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five training images of each of two classes, in class folders."""
    folder = tmp_path_factory.mktemp("labels")
    for source in sorted(p for p in (photos / "train").iterdir() if p.is_dir())[:2]:
        (folder / source.name).mkdir()
        for path in sorted(source.glob("*.jpg"))[:5]:
            shutil.copy(path, folder / source.name)
    return folder


def settings(tiny_settings: dict[str, Any], **extra: Any) -> RunConfig:
    return resolve(tiny_settings, {"method": {"name": "none"}} | extra, "tests")


def train(config: RunConfig, folder: Path) -> RunReport:
    return run_training(config, method_named(config.method.name), folder, lambda progress: None)


@pytest.fixture(scope="module")
def labelled(
    tiny_settings: dict[str, Any], few: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunReport]:
    folder = tmp_path_factory.mktemp("workspace") / "runs" / "labelled"
    return folder, train(settings(tiny_settings, labels=str(few)), folder)


def test_labels_follow_the_fit_of_the_start_and_leave_the_floors_alone(
    labelled: tuple[Path, RunReport], few: Path, photos: Path
):
    run, _ = labelled
    start = projection(run / "start")
    changed = expected_projection(run / "start", few, photos / "train")
    assert (projection(run) - start).abs().max() > 0.004 * start.abs().max()
    torch.testing.assert_close(
        projection(run), changed.float(), atol=1e-4 * float(start.abs().max()), rtol=0
    )


def test_the_report_counts_the_labels_and_compares_with_the_start(
    labelled: tuple[Path, RunReport],
):
    run, report = labelled
    assert report.guard.by == "labels"
    assert report.table is not None
    assert report.table.trained.encoder == "run labelled"
    written = json.loads((run / "report.json").read_text())
    assert written["labels"] == {
        "images": 10, "classes": 2, "skipped": 0, "same": 0, "different": 0
    }  # fmt: skip


def test_an_exported_run_with_labels_gives_the_run_s_vectors(
    labelled: tuple[Path, RunReport], photos: Path, tmp_path: Path
):
    run, _ = labelled
    folder = export_bundle(Source.open(run, force=True), tmp_path / "bundle").folder
    paths, _ = find_images(photos / "test")
    bundle = Bundle.open(folder)
    encoder, spec = load_encoder(run)
    exported = OnnxEmbedder(folder / "onnx" / "model.onnx", bundle.preprocessing, "cpu")(paths)
    expected = TorchEmbedder(encoder, spec, CPU)(paths).vectors
    np.testing.assert_allclose(exported.vectors, expected, atol=1e-4)


def test_labels_that_change_are_fitted_again_on_resume(
    labelled: tuple[Path, RunReport],
    few: Path,
    photos: Path,
    tiny_settings: dict[str, Any],
    tmp_path: Path,
):
    shutil.copytree(few, tmp_path / "few")
    moco = {"name": "moco", "queue_size": 16}
    learning = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}
    config = settings(tiny_settings, labels=str(tmp_path / "few"), method=moco, optimiser=learning)
    train(config, tmp_path / "run")
    before = projection(tmp_path / "run")
    third = sorted(p for p in (photos / "train").iterdir() if p.is_dir())[2]
    shutil.copytree(third, tmp_path / "few" / third.name)
    report = train(config, tmp_path / "run")
    assert report.labels is not None
    assert (report.labels.images, report.labels.classes) == (18, 3)
    assert not torch.equal(before, projection(tmp_path / "run"))
    train(config, tmp_path / "fresh")
    torch.testing.assert_close(projection(tmp_path / "run"), projection(tmp_path / "fresh"))


def test_a_dry_run_refuses_the_same_labels(tiny_settings: dict[str, Any], tmp_path: Path):
    config = settings(tiny_settings, labels=str(tmp_path / "nowhere"))
    with pytest.raises(NotFoundError, match=r"no labels at"):
        dry_run(config, method_named("none"))


def test_the_command_takes_labels_and_prints_their_counts(
    command: Command, tiny_settings: dict[str, Any], few: Path
):
    options = ("backbone.weights=random", "preprocessing.size=64", "workers=0", "device=cpu")
    outcome = command(
        "train", "--method", "none", "--images", tiny_settings["images"], "--labels", few,
        "--backbone", tiny_settings["backbone"]["name"], "--set", "pooling.whitening=16",
        *(part for text in options for part in ("--set", text)),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "labels: 10 images in 2 classes\n" in outcome.out
    assert "this is the calibrated start itself" not in outcome.out
    assert "it has learned from labels alone, and is exported" in outcome.out
