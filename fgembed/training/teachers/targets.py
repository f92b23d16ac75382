"""What a student learns: the training images, read by its start at several sizes and by others.

It depends on the start, the other teachers, the images and the labels alone, so that a resumed run
learns the same.
"""

from collections.abc import Iterator, Sequence
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
from fgembed.model.reading.neighbourhood import with_neighbours
from fgembed.model.reading.whitening import Spectrum
from fgembed.model.shared_backbone import SharedPass
from fgembed.progress import ReportStage
from fgembed.questions import Answer
from fgembed.training.preparation import Prepared
from fgembed.training.teachers.labelled import LabelledTargets
from fgembed.training.teachers.sizes import taught_sizes
from fgembed.training.teachers.teacher import FittedBackbone, Teacher

PLACEHOLDERS = 512  # dimensions


def give_targets(
    prepared: Prepared,
    others: Sequence[Teacher],
    paths: Sequence[Path],
    report_stage: ReportStage,
) -> None:
    """Gives a method that takes targets those of the training images, and the layer to begin with.

    Args:
        prepared: its start is untouched.
        others: teachers beside the start.
        paths: the training images, in the order of their positions.
        report_stage: takes the name of the stage.

    Raises:
        FgembedError: too few images differ, or a teacher maps different ones to one point.
    """
    method, start, spec = prepared.method, prepared.start, prepared.config.preprocessing
    if not method.takes_targets:
        return
    settings = FitSettings.of(prepared.config.pooling.of_the_floor())
    once = replace(method.encoder.reading, mirror=False)
    # On the start's backbone: the method's may hold weights that it has trained.
    student = Encoder(start.backbone, method.encoder.pooling, reading=once)
    shared = SharedPass({"student": student}, spec, prepared.device)
    specs = teaching_specs(prepared, shared, paths)
    report_stage(_stage(specs, [teacher.name for teacher in method.target_teachers]))
    own = start_by(specs, start, spec.size, settings, prepared.device)
    weights = [*own_weights([s.size for s in specs], spec.size), *[1.0] * len(others)]
    labelled = LabelledTargets.of(prepared.labels, paths)
    targets = read_by([*own, *others], labelled.paths, settings.dimensions, weights)
    targets = with_neighbours(labelled.by_labels(targets), method.target_neighbours)[: len(paths)]
    shared.calibrate(paths, settings.to_targets(), targets=targets)
    centre = None if student.levels is None else student.levels.centre
    method.take_targets(targets, student.whitening, centre)


def teaching_specs(
    prepared: Prepared, shared: SharedPass, paths: Sequence[Path]
) -> list[Preprocessing]:
    """How the start reads the photographs as a teacher: at each size, and grey too where asked.

    Args:
        prepared: the run.
        shared: of the start's backbone, which may take images of one size alone.
        paths: of the photographs.
    """
    scales = [FitSettings(larger=size) for size in taught_sizes(prepared, paths)]
    sides = sorted({shared.larger_side(scale) for scale in scales})
    spec = prepared.config.preprocessing
    return [replace(spec, size=side, grey=grey) for grey in _colours(prepared) for side in sides]


def _colours(prepared: Prepared) -> list[bool]:
    """Whether photographs are made grey, for each time that the start reads them at one size.

    Where colour does not tell the things apart, once as they are and once grey: with grey alone
    what colour shows of shapes would be lost.
    """
    asked = prepared.method.target_grey
    also = asked == "yes" or (asked == "auto" and prepared.config.things.colour == Answer.no)
    is_grey = prepared.config.preprocessing.grey
    return [is_grey, True] if also and not is_grey else [is_grey]


def start_by(
    specs: Sequence[Preprocessing],
    start: Encoder,
    side: int,
    settings: FitSettings,
    device: torch.device,
) -> list[Teacher]:
    """The start by each preprocessing; a batch has as many pixels as one of `side` px.

    Where it reads nothing but its own size, it is the fitted start itself, which predicts what it
    would read at a larger one.
    """
    if any(spec.size != side for spec in specs):
        settings = replace(settings, larger=1.0)
    return [FittedBackbone(start, spec, settings, device, side) for spec in specs]


def own_weights(sides: Sequence[int], own: int) -> list[float]:
    """The weight of the start at each side: its own counts as much as all larger ones.

    Larger sizes show more, of which not all tells the things apart, and the student has to see it
    at its own size.
    """
    larger = len({*sides} - {own})
    return [1.0 if side != own else max(1.0, larger) for side in sides]


def read_by(
    teachers: Sequence[Teacher], paths: Sequence[Path], dimensions: int, weights: Sequence[float]
) -> Tensor:
    """The images' unit vectors (N, D) by teachers, each fitted to them apart.

    The vectors of the teachers stand side by side, so that their cosines are averaged by the
    weights, and are projected on their principal directions.

    Args:
        teachers: not yet fitted.
        paths: of the images; one that cannot be read any more gets zeros.
        dimensions: D at most.
        weights: of the teachers, positive.
    """
    scales = [weight**0.5 for weight in weights]
    fits = [scale * t.fit(paths) for t, scale in zip(teachers, scales, strict=True)]
    readable = torch.stack([fit.any(dim=1) for fit in fits]).all(dim=0)
    sample = torch.cat([fit[readable] for fit in fits], dim=1)
    spectrum = Spectrum.of(sample, dimensions)
    widths = [fit.shape[1] for fit in fits]
    directions = torch.split(spectrum.directions, widths)
    means = torch.split(spectrum.mean, widths)
    # All of a small set are in the sample.
    parts = iter(fits) if len(paths) <= SAMPLE else _read_all(list(teachers), scales, paths)
    targets = torch.zeros(len(paths), spectrum.directions.shape[1])
    readable = torch.ones(len(paths), dtype=torch.bool)
    for part, mean, layer in zip(parts, means, directions, strict=True):
        targets += (part - mean.float()) @ layer.float()
        readable &= part.any(dim=1)
    return F.normalize(targets, dim=1) * readable[:, None]


def _read_all(
    teachers: list[Teacher], scales: Sequence[float], paths: Sequence[Path]
) -> Iterator[Tensor]:
    """Each teacher's vectors of all images, scaled; those of one at a time are in memory."""
    teachers.reverse()
    for scale in scales:
        yield scale * teachers.pop().read(paths)


def _stage(specs: Sequence[Preprocessing], names: Sequence[str]) -> str:
    """What is read, in words."""
    sides = ", ".join(str(side) for side in sorted({spec.size for spec in specs}))
    grey = " in colour and grey" if len({spec.grey for spec in specs}) > 1 else ""
    at = [f"at {sides} px{grey}"] if specs else []
    by = [f"by {', '.join(names)}"] if names else []
    return f"reading the photographs {' and '.join([*at, *by])}: what the student learns"


def give_placeholders(method: Method, count: int) -> None:
    """Gives a method that takes targets any that are as large: its steps cost the same."""
    if method.takes_targets:
        method.take_targets(F.normalize(torch.ones(count, PLACEHOLDERS), dim=1))
