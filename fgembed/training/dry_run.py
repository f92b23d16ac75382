"""Estimates what a run would take: a few real images and steps, and nothing is written.

Steps are taken as the trainer takes them, on real images through the real loader. The encoder is
timed as it would be exported, beside cheaper and dearer readings of the same backbone.
"""

import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fgembed.config import RunConfig
from fgembed.data.loading import TrainingImages
from fgembed.errors import ConfigError
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.methods.base import Method
from fgembed.model.out_of_memory import explained_memory
from fgembed.progress import ReportStage, silent
from fgembed.training.costs.encoders import EncoderCost, encoder_costs
from fgembed.training.costs.estimate import measured_rates, workload
from fgembed.training.costs.stages import Rates, Workload, stage_seconds
from fgembed.training.epoch_selection import selection_split
from fgembed.training.optimiser import make_optimisers
from fgembed.training.pace import LIMIT_S, Pace, measure_pace
from fgembed.training.preparation import (
    Prepared,
    batch_memory,
    prepare,
    readable_images,
    require_batch,
    trains,
)
from fgembed.training.resuming.checkpoint import state_tensors
from fgembed.training.teachers.choice import make_teachers
from fgembed.training.teachers.targets import give_placeholders


@dataclass(frozen=True)
class Parameters:
    """How many numbers the method holds.

    Attributes:
        encoder: trained, at `optimiser.encoder_scale` of the learning rate.
        heads: trained, at the learning rate.
        separate_adam: trained by an Adam of their own; `own_adam` in JSON.
        key_copies: moving averages of trained ones.
        fixed: neither trained nor averaged.
        buffers: no parameters: queues, batch-norm statistics.
    """

    encoder: int
    heads: int
    separate_adam: int
    key_copies: int
    fixed: int
    buffers: int

    def to_json(self) -> dict[str, int]:
        """The counts as a JSON object."""
        return {
            "encoder": self.encoder,
            "heads": self.heads,
            "own_adam": self.separate_adam,
            "key_copies": self.key_copies,
            "fixed": self.fixed,
            "buffers": self.buffers,
        }


@dataclass(frozen=True)
class Estimate:
    """The result of a dry run.

    Attributes:
        config: the settings with every default written out.
        device: computes.
        images: number of training images, not yet checked; `pictures` in JSON.
        passed_over: images beside them that are clutter.
        parameters: of the method.
        steps_per_epoch: batches in an epoch; the last incomplete one is dropped.
        steps: in the complete training; 0 where nothing is trained.
        pace: None where nothing is trained.
        peak_memory_bytes: the largest so far; None where the system does not say.
        peak_memory_of: whose memory that is.
        checkpoint_bytes: size of the checkpoint's tensors.
        encoders: the run's encoder and its siblings, see `costs.encoders`.
        work: what the run does.
        rates: how fast this machine does it; None where no image could be read.
    """

    config: RunConfig
    device: str
    images: int
    passed_over: PassedOver
    parameters: Parameters
    steps_per_epoch: int
    steps: int
    pace: Pace | None
    peak_memory_bytes: int | None
    peak_memory_of: str
    checkpoint_bytes: int
    encoders: dict[str, EncoderCost]
    work: Workload
    rates: Rates | None

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of each stage of the run, by its name; empty where they are not known."""
        return stage_seconds(self.work, self.rates) if self.rates else {}

    @property
    def training_s(self) -> float:
        """Seconds of the training alone, at this pace."""
        return self.steps * (self.pace.step_s + self.pace.waiting_s) if self.pace else 0.0

    def to_json(self) -> dict[str, Any]:
        """The estimate as a JSON object."""
        return {
            "config": self.config.model_dump(mode="json", exclude_none=True),
            "device": self.device,
            "pictures": self.images,
            "passed_over": self.passed_over.images,
            "parameters": self.parameters.to_json(),
            "steps_per_epoch": self.steps_per_epoch,
            "steps": self.steps,
            "pace": asdict(self.pace) if self.pace else None,
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_memory_of": self.peak_memory_of,
            "checkpoint_bytes": self.checkpoint_bytes,
            "training_s": self.training_s,
            "encoders": [cost.to_json() for cost in self.encoders.values()],
            "stages_s": self.stages,
        }


def dry_run(
    config: RunConfig,
    method_class: type[Method],
    report_stage: ReportStage = silent,
    limit_s: float = LIMIT_S,
) -> Estimate:
    """Prepares a run, takes a few steps and estimates the rest.

    Args:
        config: the run's settings.
        method_class: the class of the method that they name.
        report_stage: takes the name of what begins.
        limit_s: after it no further step is taken.

    Raises:
        FgembedError: what the run itself would refuse before its training.
    """
    prepared = prepare(config, method_class)
    teachers = make_teachers(prepared)
    config, method = prepared.config, prepared.method
    images = _training_images(prepared)
    require_batch(config, method, len(images))
    encoders = encoder_costs(prepared, images.paths)
    give_placeholders(method, len(images))
    optimisers = make_optimisers(method, config.optimiser)
    steps_per_epoch = 0
    pace = None
    if optimisers and trains(config, method):
        report_stage("taking a few steps")
        with explained_memory(*batch_memory(config)):
            pace = measure_pace(prepared, images, optimisers, limit_s)
        steps_per_epoch = len(images) // config.optimiser.batch_size
    memory, owner = peak_memory(prepared.device)
    tensors = state_tensors(method, optimisers).values()
    return Estimate(
        config=config,
        device=str(prepared.device),
        images=len(prepared.paths),
        passed_over=prepared.passed_over,
        parameters=count_parameters(method),
        steps_per_epoch=steps_per_epoch,
        steps=steps_per_epoch * config.optimiser.epochs,
        pace=pace,
        peak_memory_bytes=memory,
        peak_memory_of=owner,
        checkpoint_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        encoders=encoders,
        work=workload(prepared, len(images)),
        rates=measured_rates(prepared, images.paths, encoders, pace, teachers)
        if encoders
        else None,
    )


def count_parameters(method: Method) -> Parameters:
    """Counts every parameter of the method once, by how it changes in training."""
    trained = {"encoder": 0, "heads": 0, "separate_adam": 0}
    counted = set()
    for group in method.parameter_groups():
        if group.get("adam") is not None:
            name = "separate_adam"
        else:
            name = "encoder" if group["scaled"] else "heads"
        trained[name] += sum(parameter.numel() for parameter in group["params"])
        counted |= {id(parameter) for parameter in group["params"]}
    keys = {id(p) for _, key in method.momentum_pairs() for p in key.parameters()}
    untrained = [p for p in method.parameters() if id(p) not in counted]
    return Parameters(
        encoder=trained["encoder"],
        heads=trained["heads"],
        separate_adam=trained["separate_adam"],
        key_copies=sum(p.numel() for p in untrained if id(p) in keys),
        fixed=sum(p.numel() for p in untrained if id(p) not in keys),
        buffers=sum(buffer.numel() for buffer in method.buffers()),
    )


def peak_memory(device: torch.device) -> tuple[int | None, str]:
    """The most memory in use at once so far, in bytes, and whose memory it is."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "torch's tensors on the GPU"
    owner = "this process with its libraries, without the loader's processes"
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None, owner
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, owner


def _training_images(prepared: Prepared) -> TrainingImages:
    """The training images, not checked one by one; refuses as the run does if all are bad."""
    paths, _ = selection_split(prepared.config, prepared.paths)
    images = prepared.training_images(paths)
    try:
        images[0, 0]  # skips images that cannot be read
    except ConfigError:
        readable_images(prepared.config, prepared.paths, prepared.unreadable)
        raise
    return images
