"""How fast a training is: a few of its steps, timed apart from the waits for data."""

import statistics
from dataclasses import dataclass
from time import perf_counter

import torch

from fgembed.data.loading import EpochBatches, TrainingImages, make_loader
from fgembed.training.loop import take_step, to_device
from fgembed.training.optimiser import learning_rate_factor, set_learning_rates
from fgembed.training.preparation import Prepared

MEASURED_STEPS = 6  # at least, after one to warm up
LIMIT_S = 60.0  # no further step begins after it


@dataclass(frozen=True)
class Pace:
    """How fast the training is.

    Attributes:
        step_s: median seconds from a batch's arrival to the end of its step.
        waiting_s: mean seconds spent waiting for a batch; above zero, data is the bottleneck.
        measured: steps that this was measured on.
    """

    step_s: float
    waiting_s: float
    measured: int


class _Stopwatch:
    """Times the steps and the waits before them; the first step warms up."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.started_at = self.lap_at = perf_counter()
        self.waits_s: list[float] = []
        self.steps_s: list[float] = []

    def batch_arrived(self) -> None:
        self.waits_s.append(self._lap())

    def step_completed(self) -> None:
        self.steps_s.append(self._lap())

    @property
    def is_over_limit(self) -> bool:
        return len(self.steps_s) > 1 and self.lap_at - self.started_at > self.limit_s

    def pace(self) -> Pace:
        waits_s, steps_s = self.waits_s[1:] or self.waits_s, self.steps_s[1:] or self.steps_s
        return Pace(
            step_s=statistics.median(steps_s),
            waiting_s=statistics.mean(waits_s),
            measured=len(steps_s),
        )

    def _lap(self) -> float:
        """Seconds since the last lap."""
        now = perf_counter()
        elapsed, self.lap_at = now - self.lap_at, now
        return elapsed


def measure_pace(
    prepared: Prepared,
    images: TrainingImages,
    optimisers: list[torch.optim.Optimizer],
    limit_s: float = LIMIT_S,
) -> Pace:
    """Takes steps as `fgembed.training.loop.train` does, and times them; two at least."""
    config, method, device = prepared.config, prepared.method, prepared.device
    settings = config.optimiser
    batches = EpochBatches(len(images), settings.batch_size, settings.epochs, config.seed, start=0)
    # Workers deliver in bursts, so complete rounds are measured. With the usual number of batches
    # ahead they would still be filling their queue, and slow the steps more than later on.
    workers = max(config.workers, 1)
    last_step = workers * -(-MEASURED_STEPS // workers)
    method.train()
    stopwatch = _Stopwatch(limit_s)
    for step, views in enumerate(make_loader(images, batches, config.workers, ahead=1)):
        stopwatch.batch_arrived()
        method.progress = step / batches.last
        set_learning_rates(
            optimisers, learning_rate_factor(settings, step, batches.steps_per_epoch)
        )
        take_step(method, optimisers, to_device(views, device), config.precision)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        stopwatch.step_completed()
        if step == last_step or stopwatch.is_over_limit:
            break
    return stopwatch.pace()
