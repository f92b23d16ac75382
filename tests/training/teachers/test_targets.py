"""What a distilled run learns: the start at several sizes, with neighbours, and grey."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import ConfigError
from fgembed.images.batches import ImageBatches
from fgembed.images.finding import find_images
from fgembed.methods.distill import Distill
from fgembed.model import calibration
from fgembed.model.encoder import Encoder
from fgembed.model.reading import neighbourhood
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.neighbourhood import with_neighbours
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.progress import silent
from fgembed.training.dry_run import dry_run
from fgembed.training.preparation import Prepared, prepare
from fgembed.training.teachers import targets as targets_module
from fgembed.training.teachers import teacher
from fgembed.training.teachers.targets import give_targets, start_by
from tests.training.teachers.small_runs import CPU, SIDES, WEIGHTS, read_again, settings


@pytest.fixture
def prepared(images: Path) -> Prepared:
    return prepare(settings(images), Distill)


def fitted_at(side: int, prepared: Prepared, paths: list[Path]) -> torch.Tensor:
    """The vectors of the start that is fitted to the images at this size alone."""
    start, spec = prepared.start, replace(prepared.config.preprocessing, size=side)
    teacher = Encoder(start.backbone, start.pooling, reading=start.reading)
    fit = replace(FitSettings.of(prepared.config.pooling), larger=1.0)
    SharedPass({"teacher": teacher}, spec, CPU).calibrate(paths, fit)
    return torch.from_numpy(TorchEmbedder(teacher, spec, CPU)(paths).vectors)


def at_all_sizes(prepared: Prepared, paths: list[Path]) -> torch.Tensor:
    """The start's vectors at all sizes side by side, by their weights."""
    sides = zip(SIDES, WEIGHTS, strict=True)
    return torch.cat([weight**0.5 * fitted_at(side, prepared, paths) for side, weight in sides], 1)


def start_at_all_sizes(prepared: Prepared, paths: list[Path], dimensions: int = 16) -> torch.Tensor:
    """The principal directions of the start's vectors at all sizes, side by side."""
    vectors = at_all_sizes(prepared, paths)
    centred = vectors - vectors.mean(dim=0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    return F.normalize((left * values)[:, :dimensions], dim=1)


def assert_same_cosines(one: torch.Tensor, other: torch.Tensor) -> None:
    """Principal directions have no sign."""
    torch.testing.assert_close(one @ one.T, other @ other.T, atol=2e-3, rtol=0)


def test_without_a_last_layer_there_is_nothing_to_learn(images: Path):
    with pytest.raises(ConfigError, match=r"'distill' learns a last layer.* set pooling.whitening"):
        prepare(settings(images, pooling={"whitening": 0}), Distill)


def test_the_targets_are_those_of_the_start_fitted_at_each_size(prepared: Prepared):
    stages: list[str] = []
    give_targets(prepared, [], prepared.paths, stages.append)
    assert stages == ["reading the photographs at 64, 96, 128 px: what the student learns"]
    assert prepared.start.reading.mirror
    targets = prepared.method.targets
    assert targets is not None
    assert targets.shape == (24, 16)
    assert_same_cosines(targets, start_at_all_sizes(prepared, prepared.paths))
    assert prepared.start.whitening is None  # the start itself is as it was


def test_alone_at_its_own_size_the_fitted_start_itself_teaches(images: Path):
    prepared = prepare(settings(images, method={"sizes": [1.0]}), Distill)
    give_targets(prepared, [], prepared.paths, silent)
    start, spec = prepared.start, prepared.config.preprocessing
    fitted = Encoder(start.backbone, start.pooling, reading=start.reading)
    fit = FitSettings.of(prepared.config.pooling)
    assert fit.larger > 1
    SharedPass({"start": fitted}, spec, CPU).calibrate(prepared.paths, fit)
    vectors = torch.from_numpy(TorchEmbedder(fitted, spec, CPU)(prepared.paths).vectors)
    left, values, _ = torch.linalg.svd(vectors - vectors.mean(dim=0), full_matrices=False)
    assert prepared.method.targets is not None
    assert_same_cosines(prepared.method.targets, F.normalize((left * values)[:, :16], dim=1))


def test_of_hundreds_of_images_the_targets_hold_their_neighbours(
    images: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(neighbourhood, "IMAGES_EACH", 6)  # 24 stand for 800: four neighbours
    plain, averaged = (
        prepare(settings(images, method={"neighbours": most}), Distill) for most in (0, 3)
    )
    for prepared in (plain, averaged):
        give_targets(prepared, [], prepared.paths, silent)
    before, after = plain.method.targets, averaged.method.targets
    assert before is not None
    assert after is not None
    assert_same_cosines(after, with_neighbours(before, 3))
    assert ((before * after).sum(dim=1) < 0.99).any()


def test_where_colour_tells_nothing_grey_photographs_teach_too(images: Path):
    def taught(**extra: Any) -> tuple[torch.Tensor, str]:
        prepared, stages = prepare(settings(images, **extra), Distill), list[str]()
        give_targets(prepared, [], prepared.paths, stages.append)
        assert prepared.method.targets is not None
        return prepared.method.targets, stages[0]

    answered, stage = taught(things={"colour": "no"})
    assert "at 64, 96, 128 px in colour and grey: what" in stage
    assert_same_cosines(answered, taught(method={"grey": "yes"})[0])
    coloured = taught(things={"colour": "no"}, method={"grey": "no"})[0]
    assert_same_cosines(coloured, taught()[0])
    assert (answered @ answered.T - coloured @ coloured.T).abs().max() > 0.05
    prepared = prepare(settings(images), Distill)
    parts = []
    for grey in (False, True):
        prepared_spec = replace(prepared.config.preprocessing, grey=grey)
        specs = [replace(prepared_spec, size=side) for side in SIDES]
        fit = FitSettings.of(prepared.config.pooling)
        teachers = start_by(specs, prepared.start, 64, fit, CPU)
        weighted = zip(teachers, WEIGHTS, strict=True)
        parts += [weight**0.5 * teacher.fit(prepared.paths) for teacher, weight in weighted]
    joined = torch.cat(parts, dim=1)
    left, values, _ = torch.linalg.svd(joined - joined.mean(dim=0), full_matrices=False)
    assert_same_cosines(answered, F.normalize((left * values)[:, :16], dim=1))


def test_the_student_begins_as_the_regression_to_the_targets(prepared: Prepared):
    give_targets(prepared, [], prepared.paths, silent)
    method, spec = prepared.method, prepared.config.preprocessing
    assert isinstance(method, Distill)
    assert method.targets is not None
    once = Encoder(
        method.encoder.backbone,
        method.encoder.pooling,
        reading=replace(method.encoder.reading, mirror=False),
    )
    SharedPass({"once": once}, spec, CPU).calibrate(
        prepared.paths,
        FitSettings.of(prepared.config.pooling).to_targets(),
        targets=method.targets,
    )
    embedder = TorchEmbedder(once, spec, CPU)
    pixels = ImageBatches(prepared.paths, spec, 24)
    inputs = embedder.normalised(next(iter(pixels))[1])
    with torch.no_grad():
        torch.testing.assert_close(method.student(inputs), once(inputs), atol=1e-4, rtol=0)


def test_of_more_images_than_the_fit_takes_all_get_their_targets(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
):
    for module in (targets_module, teacher, calibration):
        monkeypatch.setattr(module, "SAMPLE", 12)
    targets = read_again(prepared, prepared.paths)
    assert targets.shape == (24, 11)  # of 12 images
    vectors = at_all_sizes(prepared, prepared.paths)
    sample = vectors[evenly_spaced(24, 12)]
    directions = torch.linalg.svd(sample - sample.mean(dim=0), full_matrices=False)[2][:11]
    expected = F.normalize((vectors - sample.mean(dim=0)) @ directions.T, dim=1)
    assert_same_cosines(targets, expected)


@pytest.mark.parametrize("sample", [4096, 12])
def test_an_image_that_cannot_be_read_any_more_shifts_no_target(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: int
):
    for module in (targets_module, teacher, calibration):
        monkeypatch.setattr(module, "SAMPLE", sample)
    shutil.copytree(prepared.paths[0].parents[1], tmp_path / "images")
    paths, _ = find_images(tmp_path / "images")
    paths[5].write_bytes(b"no image")
    targets = read_again(prepared, paths)
    assert not targets[5].any()
    others = [*range(5), *range(6, 24)]
    torch.testing.assert_close(targets[others].norm(dim=1), torch.ones(23))
    if sample == 4096:  # of fewer, another part is fitted to
        expected = start_at_all_sizes(prepared, [paths[number] for number in others])
        assert_same_cosines(targets[others], expected)


def test_a_dry_run_takes_steps_without_reading_at_larger_sizes(
    images: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(targets_module, "read_by", None)
    estimate = dry_run(settings(images), Distill)
    assert estimate.pace is not None
    assert estimate.parameters.heads == (128 + 64 + 64) * 512 + 512
    assert estimate.steps == 12
