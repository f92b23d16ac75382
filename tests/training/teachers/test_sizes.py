"""At which sizes the start teaches, by the pixels of the photographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.distill import Distill
from fgembed.training.costs.estimate import workload
from fgembed.training.preparation import Prepared, prepare
from fgembed.training.teachers.sizes import ENLARGED, SAMPLE, taught_sizes, typical_side
from fgembed.training.teachers.targets import give_targets
from tests.training.teachers.small_runs import settings


def save_noise(folder: Path, *sides: tuple[int, int]) -> list[Path]:
    """One image of noise of each width and height."""
    rng = np.random.default_rng(0)
    paths = []
    for number, (width, height) in enumerate(sides):
        paths.append(folder / f"{number:03d}.png")
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    return paths


def run_on(folder: Path, width: int, height: int | None = None, **extra: Any) -> Prepared:
    """A run at 64 px on images of this size."""
    save_noise(folder, *[(width, height or width)] * 12)
    return prepare(settings(folder, **extra), Distill)


@pytest.mark.parametrize(("side", "sizes"), [
    (128, (1.0, 1.4, 1.8)),
    (int(64 * 1.8 / ENLARGED) + 1, (1.0, 1.4, 1.8)),
    (int(64 * 1.8 / ENLARGED) - 1, (1.0, 1.4)),
    (int(64 * 1.4 / ENLARGED) - 1, (1.0,)),
    (16, (1.0,)),
])  # fmt: skip
def test_the_start_does_not_teach_at_sizes_that_would_only_enlarge(
    tmp_path: Path, side: int, sizes: tuple[float, ...]
):
    prepared = run_on(tmp_path, side)
    assert taught_sizes(prepared, prepared.paths) == sizes
    assert workload(prepared, 12).teacher_sizes == sizes


@pytest.mark.parametrize(("fit", "width", "height", "sizes"), [
    ("squash", 120, 40, (1.0, 1.4)),  # as many pixels as 69 x 69
    ("pad", 120, 40, (1.0, 1.4, 1.8)),  # 120 px become the input's side
    ("crop", 120, 40, (1.0,)),  # and 40 px with a margin
])  # fmt: skip
def test_what_is_enlarged_depends_on_how_photographs_become_the_input(
    tmp_path: Path, fit: str, width: int, height: int, sizes: tuple[float, ...]
):
    prepared = run_on(tmp_path, width, height, preprocessing={"size": 64, "fit": fit})
    assert taught_sizes(prepared, prepared.paths) == sizes


def test_a_stage_names_the_sizes_that_are_read(tmp_path: Path):
    prepared, stages = run_on(tmp_path, 32), list[str]()
    give_targets(prepared, [], prepared.paths, stages.append)
    assert stages == ["reading the photographs at 64 px: what the student learns"]


def test_files_that_cannot_be_read_decide_no_size(tmp_path: Path):
    """So that a resumed run, from which they may be gone, learns the same."""
    readable = save_noise(tmp_path, *[(128, 128), (32, 32)] * 40)
    (tmp_path / "000 damaged.png").write_bytes(b"damaged")
    prepared, stages = prepare(settings(tmp_path), Distill), list[str]()
    assert len(prepared.paths) == 81
    give_targets(prepared, [], readable, stages.append)
    alone, same = prepare(settings(tmp_path), Distill), list[str]()
    (tmp_path / "000 damaged.png").unlink()
    give_targets(alone, [], readable, same.append)
    assert stages == same


def test_a_single_size_is_taken_as_it_is_set(tmp_path: Path):
    single = run_on(tmp_path, 16, method={"sizes": [1.8]})
    assert taught_sizes(single, single.paths) == (1.8,)
    larger = prepare(settings(tmp_path, method={"sizes": [1.8, 1.4]}), Distill)
    assert taught_sizes(larger, larger.paths) == (1.4,)


def test_the_side_is_the_median_of_those_that_can_be_read(tmp_path: Path):
    paths = save_noise(tmp_path, (30, 30), (80, 20), (200, 200))
    spec = Preprocessing(size=64)
    assert typical_side(paths, spec) == 40.0
    paths[1].write_bytes(b"damaged")
    assert typical_side(paths[:2], spec) == 30.0
    assert typical_side(paths[1:2], spec) is None


def test_photographs_that_cannot_be_read_leave_the_sizes_as_they_are(tmp_path: Path):
    prepared = run_on(tmp_path, 16)
    for path in prepared.paths:
        path.write_bytes(b"damaged")
    assert taught_sizes(prepared, prepared.paths) == (1.0, 1.4, 1.8)


def test_the_sample_is_spread_over_the_photographs(tmp_path: Path):
    few = save_noise(tmp_path, *[(20, 20)] * 2, *[(60, 60)] * 3)
    many = [few[0]] * (2 * SAMPLE) + [few[-1]] * (3 * SAMPLE)  # by name the small ones come first
    assert typical_side(many, Preprocessing(size=16)) == 60.0
