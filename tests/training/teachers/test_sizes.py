"""At which sizes the start teaches, by the pixels of the photographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


def run_on(folder: Path, side: int, **method: Any) -> Prepared:
    """A run at 64 px on images of this side."""
    save_noise(folder, *[(side, side)] * 12)
    return prepare(settings(folder, method=method), Distill)


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
    assert taught_sizes(prepared) == sizes
    assert workload(prepared, 12).teacher_sizes == sizes


def test_a_stage_names_the_sizes_that_are_read(tmp_path: Path):
    prepared, stages = run_on(tmp_path, 32), list[str]()
    give_targets(prepared, [], prepared.paths, stages.append)
    assert stages == ["reading the photographs at 64 px: what the student learns"]


def test_a_single_size_is_taken_as_it_is_set(tmp_path: Path):
    assert taught_sizes(run_on(tmp_path, 16, sizes=[1.8])) == (1.8,)
    larger = settings(tmp_path, method={"sizes": [1.8, 1.4]})
    assert taught_sizes(prepare(larger, Distill)) == (1.4,)


def test_the_side_is_that_of_a_square_with_the_median_of_the_pixels(tmp_path: Path):
    paths = save_noise(tmp_path, (30, 30), (80, 20), (200, 200))
    assert typical_side(paths, at_least=64) == 40.0
    paths[1].write_bytes(b"damaged")
    assert typical_side(paths[:2], at_least=64) == 30.0
    assert typical_side(paths[1:2], at_least=64) is None


def test_photographs_that_cannot_be_read_leave_the_sizes_as_they_are(tmp_path: Path):
    prepared = run_on(tmp_path, 16)
    for path in prepared.paths:
        path.write_bytes(b"damaged")
    assert taught_sizes(prepared) == (1.0, 1.4, 1.8)


def test_the_sample_is_spread_over_the_photographs(tmp_path: Path):
    # By name the small ones come first.
    few = save_noise(tmp_path, *[(20, 20)] * 2, *[(60, 60)] * 3)
    many = [few[0]] * (2 * SAMPLE) + [few[-1]] * (3 * SAMPLE)
    assert typical_side(many, at_least=16) == 60.0
