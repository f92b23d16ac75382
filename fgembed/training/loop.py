"""The training loop: knows what a Method is and nothing of any one method.

One step, in order: set the learning rates, move the key encoders, compute the loss, step the
optimisers, log, and at times save everything. A killed run continues from its last checkpoint
exactly as if it had not been killed (bit for bit on a CPU with the same number of threads).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fgembed.config import RunConfig
from fgembed.data.loading import EpochBatches, TrainingImages, make_loader
from fgembed.errors import FgembedError
from fgembed.methods.base import Method
from fgembed.methods.components.momentum import update_keys
from fgembed.training.collapse import CollapseStop
from fgembed.training.metrics_log import MetricsLog
from fgembed.training.optimiser import learning_rate_factor, make_optimisers, set_learning_rates
from fgembed.training.resuming.checkpoint import Position, has_state, load_state, save_state
from fgembed.training.resuming.fingerprint import Fingerprint
from fgembed.training.spread import is_due
from fgembed.workspace import RunFolder

REPORT_EVERY_S = 1.0


@dataclass(frozen=True)
class Progress:
    """Where the training is, for a progress line.

    Attributes:
        step: steps taken.
        steps: of the complete training.
        epoch: the current one, from 0.
        epochs: of the complete training.
        loss: of the last step, the sum of its terms.
        images_per_s: since the last report.
        waiting_share: of the time since the last report, the share spent waiting for data.
        images_left: to the end of the training; an image counts once an epoch.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    images_per_s: float
    waiting_share: float
    images_left: int

    @classmethod
    def at(
        cls, step: int, batches: EpochBatches, loss: float, speed: dict[str, float]
    ) -> "Progress":
        """After `step` steps; an epoch counts as the current one until the next step."""
        return cls(
            step=step,
            steps=batches.last,
            epoch=(step - 1) // batches.steps_per_epoch,
            epochs=batches.last // batches.steps_per_epoch,
            loss=loss,
            images_per_s=speed["images_per_s"],
            waiting_share=speed["waiting_share"],
            images_left=(batches.last - step) * batches.batch_size,
        )

    @property
    def seconds_left(self) -> float:
        """At the speed since the last report."""
        return self.images_left / max(self.images_per_s, 1e-9)


Report = Callable[[Progress], None]
# Takes the epoch, from 0, before its checkpoint, and returns figures for the log. It leaves
# random states and the method as they are; after a kill it may run for the same epoch again.
OnEpochEnd = Callable[[int], dict[str, float]]


def no_figures(epoch: int) -> dict[str, float]:
    """Scores nothing: the default at the end of an epoch."""
    return {}


def train(
    method: Method,
    images: TrainingImages,
    config: RunConfig,
    run: RunFolder,
    device: torch.device,
    report: Report,
    fingerprint: Fingerprint,
    collapse: CollapseStop,
    on_epoch_end: OnEpochEnd = no_figures,
) -> None:
    """Trains `method` in place and keeps `run` ready to resume.

    Raises:
        ConfigError: the images do not fill a batch.
        FgembedError: the loss is no longer finite, the encoder has collapsed, or the checkpoint in
            `run` is damaged.
    """
    settings, count = config.optimiser, len(images)
    optimisers = make_optimisers(method, settings)
    if not optimisers or settings.epochs == 0:
        return
    step = load_state(run, method, optimisers).step if has_state(run) else 0
    batches = EpochBatches(count, settings.batch_size, settings.epochs, config.seed, start=step)
    meter = _Meter(settings.batch_size)
    saved_at = time.monotonic()
    method.train()
    with MetricsLog(run, step) as log:
        for views in make_loader(images, batches, config.workers):
            meter.data_arrived()
            method.progress = step / batches.last
            factor = learning_rate_factor(settings, step, batches.steps_per_epoch)
            set_learning_rates(optimisers, factor)
            views = to_device(views, device)
            terms = take_step(method, optimisers, views, config.precision)
            step += 1

            epoch_ends = step % batches.steps_per_epoch == 0
            save_due = epoch_ends or time.monotonic() - saved_at > config.checkpoint_every_s
            watched = is_due(step, epoch_ends)
            if save_due or watched or meter.report_due() or settings.log_every_step:
                values = _finite_values(terms, method, step, collapse)
                speed = meter.read()
                progress = Progress.at(step, batches, sum(values.values()), speed)
                if watched:
                    values |= collapse.check(method, step, batches.last, log, values)
                if epoch_ends:
                    values |= method.diagnose(views) | on_epoch_end(progress.epoch)
                values["learning_rate"] = factor * settings.learning_rate
                log.write(step - 1, values | speed)
                report(progress)
            if save_due:
                save_state(run, method, optimisers, Position(step, fingerprint))
                saved_at = time.monotonic()
            meter.step_completed()


def to_device(views: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The views on the device, images laid out as the encoder is."""
    return [
        view.to(
            device,
            non_blocking=True,
            memory_format=torch.channels_last if view.ndim == 4 else torch.preserve_format,
        )
        for view in views
    ]


def take_step(
    method: Method,
    optimisers: Sequence[torch.optim.Optimizer],
    views: Sequence[Tensor],
    precision: str,
) -> dict[str, Tensor]:
    """One step of the key encoders and the optimisers.

    Args:
        method: in training mode.
        optimisers: their learning rates set.
        views: one (B, 3, H, W) tensor a view, normalised, on the method's device.
        precision: `float32`, or `bfloat16` for mixed precision.

    Returns:
        The loss terms before the step.
    """
    update_keys(method.momentum_pairs(), method.momentum())
    mixed = precision == "bfloat16"
    with torch.autocast(views[0].device.type, torch.bfloat16, enabled=mixed):
        terms: dict[str, Tensor] = method(views)
    if not terms:
        raise RuntimeError("the method has parameters to train but gives no loss")  # invariant
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for optimiser in optimisers:
        optimiser.step()
    return terms


def _finite_values(
    terms: dict[str, Tensor], method: Method, step: int, collapse: CollapseStop
) -> dict[str, float]:
    """The loss terms, all finite; runs before a sound checkpoint is replaced."""
    values = {name: float(term.detach()) for name, term in terms.items()}
    bad = [f"loss term {name!r}" for name, value in values.items() if not math.isfinite(value)]
    bad += [
        f"weight {name!r}"
        for name, value in method.state_dict().items()
        if not bool(torch.isfinite(value).all())
    ]
    if bad:
        fact = f"the {bad[0]} is not finite at step {step}"
        raise FgembedError(fact, collapse.remedy(method))
    return values


class _Meter:
    """Images a second and the share of time spent waiting for data, between two reads."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.started = self.waiting_since = time.monotonic()
        self.waiting_s = 0.0
        self.steps = 0

    def data_arrived(self) -> None:
        self.waiting_s += time.monotonic() - self.waiting_since
        self.steps += 1

    def step_completed(self) -> None:
        self.waiting_since = time.monotonic()

    def report_due(self) -> bool:
        return time.monotonic() - self.started > REPORT_EVERY_S

    def read(self) -> dict[str, float]:
        now = time.monotonic()
        elapsed = max(now - self.started, 1e-9)
        figures = {
            "images_per_s": self.steps * self.batch_size / elapsed,
            "waiting_share": min(self.waiting_s / elapsed, 1.0),
        }
        self.started, self.waiting_s, self.steps = now, 0.0, 0
        return figures
