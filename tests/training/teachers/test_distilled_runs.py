"""A distilled run: that it learns, that a killed one goes on exactly, and what it exports."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import ConfigError
from fgembed.export.run_source import Source
from fgembed.export.write_bundle import export_bundle
from fgembed.images.finding import find_images
from fgembed.methods.distill import Distill
from fgembed.model.encoder_files import load_encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.tensor_files import read_tensors
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.progress import silent
from fgembed.training.loop import Progress
from fgembed.training.preparation import prepare
from fgembed.training.run import run_training
from tests.training.teachers.small_runs import CPU, read_again, settings


@pytest.fixture(scope="module")
def run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("workspace") / "runs" / "distilled"
    run_training(settings(images), Distill, folder, silent)
    return folder


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_training_moves_the_student_towards_its_targets(run: Path):
    cosines = [line["teacher cosine"] for line in log(run) if "teacher cosine" in line]
    assert len(cosines) == 4
    assert cosines[-1] > cosines[0] + 0.05


def test_the_last_layer_of_the_run_predicts_the_targets(run: Path, images: Path):
    """Fitted with the mirror image, which the start reads as well."""
    prepared = prepare(settings(images), Distill)
    targets = read_again(prepared, prepared.paths)
    encoder, spec = load_encoder(run)
    assert encoder.reading.mirror
    vectors = TorchEmbedder(encoder, spec, CPU)(prepared.paths).vectors
    fit = FitSettings.of(prepared.config.pooling)
    to_targets = replace(fit, ridge=0.1)
    SharedPass({"again": encoder}, spec, CPU).calibrate(prepared.paths, to_targets, targets=targets)
    expected = TorchEmbedder(encoder, spec, CPU)(prepared.paths).vectors
    np.testing.assert_allclose(vectors, expected, atol=1e-3)
    SharedPass({"own": encoder}, spec, CPU).calibrate(prepared.paths, fit)
    own = TorchEmbedder(encoder, spec, CPU)(prepared.paths).vectors
    assert np.abs(vectors - own).max() > 0.1


@pytest.mark.slow
def test_a_killed_run_continues_exactly(run: Path, images: Path, tmp_path: Path):
    class Killed(BaseException):
        """Stands in for a kill: nothing in the product catches it."""

    def report(progress: Progress) -> None:
        if progress.step == 8:
            raise Killed

    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        run_training(settings(images), Distill, killed, report)
    torch.manual_seed(99)  # the resumed process starts with other random numbers
    run_training(settings(images), Distill, killed, silent)
    with pytest.raises(ConfigError, match=r"pooling.shrinkage is 1.0 .* but was 3.0 up to the"):
        run_training(settings(images, pooling={"shrinkage": 1.0}), Distill, killed, silent)
    losses = [[line["teacher"] for line in log(folder)] for folder in (run, killed)]
    assert len(losses[0]) == 12
    assert losses[0] == losses[1]
    complete, resumed = (read_tensors(f / "encoder.safetensors") for f in (run, killed))
    assert complete.keys() == resumed.keys()
    assert all(torch.equal(complete[name], resumed[name]) for name in complete)


@pytest.mark.slow
def test_an_exported_student_gives_the_run_s_vectors(run: Path, images: Path, tmp_path: Path):
    folder = export_bundle(Source.open(run), tmp_path / "bundle").folder
    paths, _ = find_images(images)
    bundle = Bundle.open(folder)
    encoder, spec = load_encoder(run)
    exported = OnnxEmbedder(folder / "onnx" / "model.onnx", bundle.preprocessing, "cpu")(paths)
    expected = TorchEmbedder(encoder, spec, CPU)(paths).vectors
    np.testing.assert_allclose(exported.vectors, expected, atol=1e-4)
