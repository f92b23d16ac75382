"""What a training would take, told before it is begun: a few real steps, and nothing is written.

Steps are taken as the trainer takes them, on real pictures through the real loader. Estimates
are of the training alone: checking the pictures, whitening and measuring come on top.
"""

import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fgembed.config import RunConfig
from fgembed.data.loading import EpochBatches, TrainingImages, make_loader
from fgembed.errors import ConfigError
from fgembed.methods.base import Method
from fgembed.progress import ReportStage, silent
from fgembed.training.checkpoint import state_tensors
from fgembed.training.epoch_selection import parted
from fgembed.training.loop import take_step, to_device
from fgembed.training.optimiser import make_optimisers, rate_share, set_rates
from fgembed.training.preparation import Prepared, prepare, readable_images, require_batch, trains

MEASURED = 6  # steps at least, after one to warm up
BUDGET_S = 60  # after which no further step is begun


@dataclass(frozen=True)
class Parameters:
    """How many numbers the method holds.

    Attributes:
        encoder: trained, at `optimiser.encoder_scale` of the learning rate.
        heads: trained, at the learning rate.
        own_adam: trained by an Adam of their own.
        key_copies: follow what is trained as moving averages.
        fixed: neither trained nor moved.
        buffers: no parameters: queue, batch-norm statistics.
    """

    encoder: int
    heads: int
    own_adam: int
    key_copies: int
    fixed: int
    buffers: int


@dataclass(frozen=True)
class Pace:
    """How fast it goes.

    Attributes:
        step_s: median seconds from a batch's arrival to the end of its step.
        waiting_s: mean seconds spent waiting for a batch; above zero, data is the bottleneck.
        measured: steps that this was measured on.
    """

    step_s: float
    waiting_s: float
    measured: int


@dataclass(frozen=True)
class Estimate:
    """What a dry run found.

    Attributes:
        config: the settings with every default written out.
        device: what computes.
        pictures: found, not yet checked.
        parameters: counted.
        steps_per_epoch: batches in an epoch; the last incomplete one is dropped.
        steps: in the whole training; 0 where nothing is trained.
        pace: None where nothing is trained.
        peak_memory_bytes: the largest so far; None where the system does not say.
        peak_memory_of: what that was measured on.
        checkpoint_bytes: of the file that each save replaces.
    """

    config: RunConfig
    device: str
    pictures: int
    parameters: Parameters
    steps_per_epoch: int
    steps: int
    pace: Pace | None
    peak_memory_bytes: int | None
    peak_memory_of: str
    checkpoint_bytes: int

    @property
    def training_s(self) -> float:
        """Seconds of the training alone, at this pace."""
        return self.steps * (self.pace.step_s + self.pace.waiting_s) if self.pace else 0.0

    def to_json(self) -> dict[str, Any]:
        """The estimate as a JSON object."""
        plain = {key: value for key, value in vars(self).items() if key != "config"}
        return {
            "config": self.config.model_dump(mode="json", exclude_none=True),
            **plain,
            "parameters": asdict(self.parameters),
            "pace": asdict(self.pace) if self.pace else None,
            "training_s": self.training_s,
        }


def dry_run(
    config: RunConfig,
    method_class: type[Method],
    report_stage: ReportStage = silent,
) -> Estimate:
    """Prepares a run, takes a few steps and estimates the rest.

    Raises:
        FgembedError: what the run itself would refuse before its training.
    """
    prepared = prepare(config, method_class)
    method, device = prepared.method, prepared.device
    images = _training_images(prepared)
    require_batch(config, method, len(images))
    optimisers = make_optimisers(method, config.optimiser)
    per_epoch = steps = 0
    pace = None
    if optimisers and trains(config, method):
        report_stage("taking a few steps")
        pace = _measure(prepared, images, optimisers)
        per_epoch = len(images) // config.optimiser.batch_size
        steps = per_epoch * config.optimiser.epochs
    state = state_tensors(method, optimisers).values()
    return Estimate(
        prepared.config,
        str(device),
        len(prepared.found),
        count_parameters(method),
        per_epoch,
        steps,
        pace,
        *peak_memory(device),
        sum(tensor.numel() * tensor.element_size() for tensor in state),
    )


def count_parameters(method: Method) -> Parameters:
    """Every parameter of the method once, by what becomes of it."""
    trained = {"encoder": 0, "heads": 0, "own_adam": 0}
    seen = set()
    for group in method.parameter_groups():
        if group.get("adam") is not None:
            name = "own_adam"
        else:
            name = "encoder" if group["scaled"] else "heads"
        trained[name] += sum(parameter.numel() for parameter in group["params"])
        seen |= {id(parameter) for parameter in group["params"]}
    keys = {id(p) for _, key in method.momentum_pairs() for p in key.parameters()}
    left = [p for p in method.parameters() if id(p) not in seen]
    return Parameters(
        **trained,
        key_copies=sum(p.numel() for p in left if id(p) in keys),
        fixed=sum(p.numel() for p in left if id(p) not in keys),
        buffers=sum(buffer.numel() for buffer in method.buffers()),
    )


def peak_memory(device: torch.device) -> tuple[int | None, str]:
    """The most memory held at once so far, in bytes, and what it is the memory of."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "torch's tensors on the GPU"
    label = "this process with its libraries, without the loader's processes"
    try:
        import resource
    except ImportError:  # there is none on Windows
        return None, label
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, label


def _training_images(prepared: Prepared) -> TrainingImages:
    """What would be trained on, without checking each; refuses as the run does if all are bad."""
    paths, _ = parted(prepared.config, prepared.found)
    images = prepared.training_images(paths)
    try:
        images[0, 0]  # goes on to the next picture until one can be read
    except ConfigError:
        readable_images(prepared.config, prepared.found, prepared.unreadable)
        raise
    return images


def _measure(
    prepared: Prepared, images: TrainingImages, optimisers: list[torch.optim.Optimizer]
) -> Pace:
    """Takes steps as `fgembed.training.loop.train` does, and times them."""
    config, method, device = prepared.config, prepared.method, prepared.device
    settings = config.optimiser
    batches = EpochBatches(len(images), settings.batch_size, settings.epochs, config.seed, start=0)
    # The workers hand over in bursts, so whole rounds are measured; with the usual batches ahead
    # they would still be filling their store meanwhile, and slow the steps more than later on.
    rounds = -(-MEASURED // max(config.workers, 1))
    wanted = 1 + rounds * max(config.workers, 1)
    waits, steps = [], []
    method.train()
    begun = asked = time.perf_counter()
    for step, views in enumerate(make_loader(images, batches, config.workers, ahead=1)):
        arrived = time.perf_counter()
        method.progress = step / batches.last
        set_rates(optimisers, rate_share(settings, step, batches.steps_per_epoch))
        take_step(method, optimisers, to_device(views, device), config.precision)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        done = time.perf_counter()
        waits.append(arrived - asked)
        steps.append(done - arrived)
        if len(steps) == wanted or (len(steps) > 1 and done - begun > BUDGET_S):
            break
        asked = time.perf_counter()
    waits, steps = waits[1:] or waits, steps[1:] or steps
    return Pace(statistics.median(steps), statistics.mean(waits), len(steps))
