"""The training loop: knows what a Method is and nothing of any one method.

One step, in order: set the learning rates, move the key encoders, take the loss, step the
optimisers, log, and at times save everything. A killed run goes on from its last checkpoint
exactly as if it had not been killed (bit for bit on a CPU with the same number of threads).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fgembed.config import RunConfig
from fgembed.data.loading import EpochBatches, TrainingImages, make_loader
from fgembed.disk.files import digest
from fgembed.errors import ConfigError, FgembedError
from fgembed.methods.base import Method
from fgembed.methods.components.momentum import update_keys
from fgembed.training.checkpoint import has_state, load_state, save_state
from fgembed.training.metrics_log import MetricsLog
from fgembed.training.optimiser import make_optimisers, rate_share, set_rates

REPORT_EVERY_S = 1.0


@dataclass(frozen=True)
class Progress:
    """Where the training is, for a progress line."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    images_per_s: float
    waiting_share: float  # of the time since the last report, spent waiting for data
    images_left: int

    @classmethod
    def at(
        cls, step: int, batches: EpochBatches, loss: float, speed: dict[str, float]
    ) -> "Progress":
        """After `step` steps; an epoch counts as the current one until the next step."""
        per_epoch, last = batches.steps_per_epoch, batches.last
        epoch, epochs = (step - 1) // per_epoch, last // per_epoch
        left = (last - step) * batches.batch_size
        return cls(step, last, epoch, epochs, loss, **speed, images_left=left)

    @property
    def seconds_left(self) -> float:
        """At the speed since the last report."""
        return self.images_left / max(self.images_per_s, 1e-9)


Report = Callable[[Progress], None]
# Takes the epoch, from 0, before its checkpoint, and gives figures for the log. It leaves random
# numbers and the method as they are; after a kill it may be called for the same epoch again.
EpochEnd = Callable[[int], dict[str, float]]


def train(
    method: Method,
    images: TrainingImages,
    config: RunConfig,
    folder: Path,
    device: torch.device,
    report: Report,
    epoch_ended: EpochEnd | None = None,
) -> None:
    """Trains `method` in place and keeps `folder` ready to resume.

    Raises:
        ConfigError: the pictures do not fill a batch, or the settings do not fit together.
        FgembedError: the loss is no longer finite, or the pictures changed since the checkpoint.
    """
    settings = config.optimiser
    optimisers = make_optimisers(method, settings)
    if not optimisers or settings.epochs == 0:
        return
    fingerprint = digest([str(path) for path in images.paths])
    step = _resume(folder, method, optimisers, fingerprint)
    batches = EpochBatches(len(images), settings.batch_size, settings.epochs, config.seed, step)
    meter = _Meter(settings.batch_size)
    saved_at = time.monotonic()
    method.train()
    with MetricsLog(folder, step) as log:
        for views in make_loader(images, batches, config.workers):
            meter.data_arrived()
            method.progress = step / batches.last
            share = rate_share(settings, step, batches.steps_per_epoch)
            set_rates(optimisers, share)
            seen = to_device(views, device)
            terms = take_step(method, optimisers, seen, config.precision)
            step += 1

            epoch_ends = step % batches.steps_per_epoch == 0
            save_due = epoch_ends or time.monotonic() - saved_at > config.checkpoint_every_s
            if save_due or meter.report_due() or settings.log_every_step:
                values = {name: float(term.detach()) for name, term in terms.items()}
                _check_finite(values, method, step)
                speed = meter.read()
                progress = Progress.at(step, batches, sum(values.values()), speed)
                if epoch_ends:
                    values |= method.diagnose(seen)
                    values |= epoch_ended(progress.epoch) if epoch_ended else {}
                values["learning_rate"] = share * settings.learning_rate
                log.write(step - 1, values | speed)
                report(progress)
            if save_due:
                save_state(folder, method, optimisers, {"step": step, "images": fingerprint})
                saved_at = time.monotonic()
            meter.step_done()


def _resume(
    folder: Path,
    method: Method,
    optimisers: Sequence[torch.optim.Optimizer],
    fingerprint: str,
) -> int:
    """The step to go on from; restores the checkpoint where there is one."""
    if not has_state(folder):
        return 0
    position = load_state(folder, method, optimisers)
    if position["images"] != fingerprint:
        raise FgembedError(
            f"the photographs changed since the checkpoint in {folder}",
            "put them back, or start a new run",
        )
    return int(position["step"])


def to_device(views: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The views where they are computed on, laid out as the encoder is."""
    return [v.to(device, non_blocking=True, memory_format=torch.channels_last) for v in views]


def take_step(
    method: Method,
    optimisers: Sequence[torch.optim.Optimizer],
    views: Sequence[Tensor],
    precision: str,
) -> dict[str, Tensor]:
    """One step of the keys and the optimisers; the loss terms that it was taken on."""
    update_keys(method.momentum_pairs(), method.momentum())
    mixed = precision == "bfloat16"
    with torch.autocast(views[0].device.type, torch.bfloat16, enabled=mixed):
        terms: dict[str, Tensor] = method(views)
    if not terms:
        raise ConfigError("the method has parameters to train but gives no loss")
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimiser in optimisers:
        optimiser.step()
    return terms


def _check_finite(values: dict[str, float], method: Method, step: int) -> None:
    """Before a checkpoint is written: what is not finite must not replace what is."""
    bad = [f"loss term {name!r}" for name, value in values.items() if not math.isfinite(value)]
    bad += [
        f"weight {name!r}"
        for name, value in method.state_dict().items()
        if not bool(torch.isfinite(value).all())
    ]
    if bad:
        raise FgembedError(
            f"the {bad[0]} is not finite at step {step}",
            "start a new run with a lower optimiser.learning_rate",
        )


class _Meter:
    """Images a second and the share of time spent waiting for data, between two reads."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.started = self.waiting_since = time.monotonic()
        self.waited = 0.0
        self.steps = 0

    def data_arrived(self) -> None:
        self.waited += time.monotonic() - self.waiting_since
        self.steps += 1

    def step_done(self) -> None:
        self.waiting_since = time.monotonic()

    def report_due(self) -> bool:
        return time.monotonic() - self.started > REPORT_EVERY_S

    def read(self) -> dict[str, float]:
        now = time.monotonic()
        elapsed = max(now - self.started, 1e-9)
        figures = {
            "images_per_s": self.steps * self.batch_size / elapsed,
            "waiting_share": min(self.waited / elapsed, 1.0),
        }
        self.started, self.waited, self.steps = now, 0.0, 0
        return figures
