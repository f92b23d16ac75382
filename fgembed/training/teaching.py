"""What a student learns: the training images, read once by the start at a larger size.

It depends on the start and the images alone, so that a resumed run learns the same.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.base import Method
from fgembed.model.calibration import SAMPLE
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.shared_backbone import SharedPass
from fgembed.progress import ReportStage
from fgembed.training.preparation import Prepared

PLACEHOLDERS = 512  # dimensions


def give_targets(prepared: Prepared, paths: Sequence[Path], report_stage: ReportStage) -> None:
    """Gives a method that takes targets those of the training images, and the layer to begin with.

    Args:
        prepared: its start is untouched.
        paths: the training images, in the order of their positions.
        report_stage: takes the name of the stage.

    Raises:
        FgembedError: too few images differ, or the start maps different ones to one point.
    """
    method, start, spec = prepared.method, prepared.start, prepared.config.preprocessing
    if not method.takes_targets:
        return
    settings = FitSettings.of(prepared.config.pooling.of_the_floor())
    once = replace(method.encoder.reading, mirror=False)
    # On the start's backbone: the method's may hold weights that it has trained.
    student = Encoder(start.backbone, method.encoder.pooling, reading=once)
    shared = SharedPass({"student": student}, spec, prepared.device)
    side = shared.larger_side(replace(settings, larger=method.target_scale))
    report_stage(f"reading the photographs at {side} px: what the student learns")
    targets = read_by(start, paths, replace(spec, size=side), settings, prepared.device)
    shared.calibrate(paths, settings, targets=targets)
    centre = None if student.levels is None else student.levels.centre
    method.take_targets(targets, student.whitening, centre)


@torch.no_grad()
def read_by(
    start: Encoder,
    paths: Sequence[Path],
    spec: Preprocessing,
    settings: FitSettings,
    device: torch.device,
) -> Tensor:
    """The images' unit vectors (N, D) by the start, fitted to them at this size alone.

    Args:
        start: is not changed.
        paths: of the images; one that cannot be read any more gets zeros.
        spec: the preprocessing, of the teacher's size.
        settings: of the fit.
        device: where the backbone runs.
    """
    teacher = Encoder(start.backbone, start.pooling, reading=start.reading)
    shared = SharedPass({"teacher": teacher}, spec, device)
    sample = shared.calibrate(paths, replace(settings, larger=1.0))
    targets = torch.zeros(len(paths), teacher.dimensions)
    if len(paths) <= SAMPLE:  # all of them were pooled for the fit
        targets[sample.positions] = teacher.finish(sample.vectors["teacher"].to(device)).cpu()
        return targets
    embedded = shared.embed(paths, "teacher")
    position = {path: number for number, path in enumerate(paths)}
    rows = [position[path] for path in embedded.paths]
    targets[rows] = torch.from_numpy(embedded.vectors)
    return targets


def give_placeholders(method: Method, count: int) -> None:
    """Gives a method that takes targets any that are as large: its steps cost the same."""
    if method.takes_targets:
        method.take_targets(F.normalize(torch.ones(count, PLACEHOLDERS), dim=1))
