"""The estimates of a dry run, against counts by hand and against a real run."""

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
from fgembed.training.pace import Pace
from fgembed.training.preparation import make_method
from tests.clock import Clock

BACKBONE = 3 * 64 * 49 + 128 + 2 * (2 * 64 * 64 * 9 + 2 * 128)  # stem, two blocks of two
PROJECTOR = 64 * 64 + 64 + 128 + 64 * 16 + 16  # two layers and a batch norm
DETECTORS = 32 * 64 + 64


def settings(tiny_settings: dict[str, Any], **extra: Any) -> RunConfig:
    method = {"name": "lcr", "queue_size": 16, "dimensions": 16}
    learning = {"epochs": 5, "batch_size": 8}
    return resolve(tiny_settings | {"method": method, "optimiser": learning}, extra, "tests")


def test_every_number_is_counted_once_by_how_it_changes(tiny_settings: dict[str, Any]):
    counted = count_parameters(make_method(settings(tiny_settings), LCR))
    norms = 2 * 5 * 129 + 2 * 129 + 65  # backbone, projector, both also as keys; detectors
    centre = 128 + 2 * 64  # of one inner level, the last but one block, and twice of the last map
    assert counted == Parameters(
        encoder=BACKBONE,
        heads=PROJECTOR + DETECTORS,
        separate_adam=0,
        key_copies=BACKBONE + PROJECTOR,
        fixed=0,
        buffers=16 * 16 + 1 + norms + centre,
    )


def test_a_group_with_a_separate_adam_and_parameters_without_a_group_are_told_apart(
    tiny_settings: dict[str, Any],
):
    class Split(LCR):
        def parameter_groups(self) -> list[dict[str, Any]]:
            last = list(self.projector[3].parameters())
            return [{"params": last, "scaled": False, "adam": 1e-3}]

    counted = count_parameters(make_method(settings(tiny_settings), Split))
    assert (counted.encoder, counted.heads, counted.separate_adam) == (0, 0, 64 * 16 + 16)
    assert counted.fixed == BACKBONE + PROJECTOR + DETECTORS - counted.separate_adam


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
    assert (estimate.images, estimate.steps_per_epoch, estimate.steps) == (24, 3, steps)
    assert taken == [8] * (measured + 1)
    assert estimate.pace is not None
    assert estimate.pace.measured == measured
    step = estimate.pace.step_s + estimate.pace.waiting_s
    assert estimate.training_s == pytest.approx(steps * step)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fgembed.training.pace.perf_counter", clock)
    return clock


def timed_method(clock: Clock, image_s: float, steps_s: Sequence[float]) -> type[LCR]:
    """LCR on the clock: so long for the views of an image, so long for the steps in turn."""
    durations = iter(steps_s)

    class Timed(LCR):
        @classmethod
        def view_maker(cls, settings: ViewSettings, spec: Preprocessing) -> ViewMaker:
            make_views = super().view_maker(settings, spec)

            def timed(image: Image.Image) -> list[torch.Tensor]:
                clock.now_s += image_s
                return make_views(image)

            return timed

        def forward(self, views: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
            clock.now_s += next(durations)
            return super().forward(views)

    return Timed


def test_waiting_for_images_and_computing_are_timed_apart(
    tiny_settings: dict[str, Any], clock: Clock
):
    """Batches of 8 in 8 x 0.5 s; the first step warms up and does not count."""
    method_class = timed_method(clock, image_s=0.5, steps_s=[10, 2, 5])
    estimate = dry_run(settings(tiny_settings, optimiser={"epochs": 1}), method_class)
    assert estimate.pace == Pace(step_s=3.5, waiting_s=4.0, measured=2)
    assert estimate.training_s == 3 * (3.5 + 4.0)


def test_the_median_step_is_estimated(tiny_settings: dict[str, Any], clock: Clock):
    method_class = timed_method(clock, image_s=0, steps_s=[1, 2, 3, 5, 8, 4, 20])
    pace = dry_run(settings(tiny_settings), method_class).pace
    assert pace == Pace(step_s=4.5, waiting_s=0.0, measured=6)


def test_slow_steps_are_few(tiny_settings: dict[str, Any], clock: Clock):
    """After a minute no further step begins, but one is measured at least."""
    method_class = timed_method(clock, image_s=1, steps_s=[15, 16, 17, 18])
    pace = dry_run(settings(tiny_settings), method_class).pace
    assert pace == Pace(step_s=16.5, waiting_s=8.0, measured=2)  # 23, 47, 72 s
    method_class = timed_method(clock, image_s=1, steps_s=[100, 200])
    pace = dry_run(settings(tiny_settings), method_class).pace
    assert pace == Pace(step_s=200.0, waiting_s=8.0, measured=1)


def test_the_checkpoint_is_as_large_as_that_of_a_run(run: Path):
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


def test_a_bad_image_is_replaced_and_a_folder_of_them_refused(
    tiny_settings: dict[str, Any], photos: Path, tmp_path: Path
):
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(b"no image")
    config = settings(tiny_settings, images=str(tmp_path), optimiser={"epochs": 1})
    with pytest.raises(BadImagesError, match="none of 8 images can be read"):
        dry_run(config, LCR)
    good = next((photos / "train").rglob("*.jpg"))
    (tmp_path / "7.jpg").write_bytes(good.read_bytes())
    assert dry_run(config, LCR).steps == 1
