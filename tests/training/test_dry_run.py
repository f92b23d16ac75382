"""What a dry run says, against counts by hand and against a real run."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fgembed.config import RunConfig, ViewSettings, validate
from fgembed.data.views import ViewMaker
from fgembed.disk.files import read_toml
from fgembed.errors import BadImagesError
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.lcr import LCR
from fgembed.methods.table import method_named
from fgembed.resolve import resolve
from fgembed.training.dry_run import Parameters, count_parameters, dry_run
from fgembed.training.preparation import make_method

BACKBONE = 3 * 64 * 49 + 128 + 2 * (2 * 64 * 64 * 9 + 2 * 128)  # stem, two blocks of two
PROJECTOR = 64 * 64 + 64 + 128 + 64 * 16 + 16  # two layers and a batch norm
DETECTORS = 32 * 64 + 64


def settings(tiny_settings: dict[str, Any], **extra: Any) -> RunConfig:
    method = {"name": "lcr", "queue_size": 16, "dimensions": 16}
    learning = {"epochs": 5, "batch_size": 8}
    return resolve(tiny_settings | {"method": method, "optimiser": learning}, extra, "tests")


def test_every_number_is_counted_once_by_what_becomes_of_it(tiny_settings: dict[str, Any]):
    counted = count_parameters(make_method(settings(tiny_settings), LCR))
    norms = 2 * 5 * 129 + 2 * 129 + 65  # backbone, projector, both also as keys; detectors
    centre = 128 + 64  # of one inner level, the last but one block, and of the last map
    assert counted == Parameters(
        encoder=BACKBONE,
        heads=PROJECTOR + DETECTORS,
        own_adam=0,
        key_copies=BACKBONE + PROJECTOR,
        fixed=0,
        buffers=16 * 16 + 1 + norms + centre,
    )


def test_a_group_with_an_adam_of_its_own_and_what_is_left_out_are_told_apart(
    tiny_settings: dict[str, Any],
):
    class Split(LCR):
        def parameter_groups(self) -> list[dict[str, Any]]:
            last = list(self.projector[3].parameters())
            return [{"params": last, "scaled": False, "adam": 1e-3}]

    counted = count_parameters(make_method(settings(tiny_settings), Split))
    assert (counted.encoder, counted.heads, counted.own_adam) == (0, 0, 64 * 16 + 16)
    assert counted.fixed == BACKBONE + PROJECTOR + DETECTORS - counted.own_adam


@pytest.mark.parametrize(("epochs", "steps", "measured"), [(5, 15, 6), (1, 3, 2)])
def test_steps_are_those_of_the_training_and_the_first_warms_up(
    tiny_settings: dict[str, Any], epochs: int, steps: int, measured: int
):
    taken = []

    class Counted(LCR):
        def forward(self, views: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
            taken.append(len(views[0]))
            return super().forward(views)

    estimate = dry_run(settings(tiny_settings, optimiser={"epochs": epochs}), Counted)
    assert (estimate.pictures, estimate.steps_per_epoch, estimate.steps) == (24, 3, steps)
    assert taken == [8] * (measured + 1)
    assert estimate.pace is not None
    assert estimate.pace.measured == measured
    step = estimate.pace.step_s + estimate.pace.waiting_s
    assert estimate.training_s == pytest.approx(steps * step)


def test_waiting_for_pictures_and_computing_are_timed_apart(tiny_settings: dict[str, Any]):
    class Slow(LCR):
        @classmethod
        def view_maker(cls, settings: ViewSettings, spec: Preprocessing) -> ViewMaker:
            usual = super().view_maker(settings, spec)

            def slow(image: Image.Image) -> list[torch.Tensor]:
                time.sleep(0.02)
                return usual(image)

            return slow

        def forward(self, views: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
            time.sleep(0.3)
            return super().forward(views)

    pace = dry_run(settings(tiny_settings, optimiser={"epochs": 1}), Slow).pace
    assert pace is not None
    assert pace.waiting_s >= 8 * 0.02
    assert pace.step_s >= 0.3


def test_the_checkpoint_is_as_large_as_a_run_s(run: Path):
    config = validate(RunConfig, read_toml(run / "config.toml"), "run")
    content = (run / "state" / "checkpoint.safetensors").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    estimate = dry_run(config, method_named("lcr"))
    assert estimate.checkpoint_bytes == len(content) - header
    assert estimate.config == config


def test_on_a_cpu_the_memory_is_that_of_the_process(tiny_settings: dict[str, Any]):
    resource = pytest.importorskip("resource")
    estimate = dry_run(settings(tiny_settings, device="cpu"), LCR)
    assert "process" in estimate.peak_memory_of
    assert estimate.peak_memory_bytes is not None
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert 0.5 < estimate.peak_memory_bytes / (1024 * now) <= 1


def test_a_bad_picture_is_replaced_and_a_folder_of_them_refused(
    tiny_settings: dict[str, Any], photos: Path, tmp_path: Path
):
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(b"no picture")
    config = settings(tiny_settings, images=str(tmp_path), optimiser={"epochs": 1})
    with pytest.raises(BadImagesError, match="none of 8 images can be read"):
        dry_run(config, LCR)
    good = next((photos / "train").rglob("*.jpg"))
    (tmp_path / "7.jpg").write_bytes(good.read_bytes())
    assert dry_run(config, LCR).steps == 1
