"""Measures what the estimates need, on a few images and steps of the run at hand."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch

from fgembed.config import RunConfig
from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import FgembedError
from fgembed.evaluation.timing import sample_pixels
from fgembed.images.finding import scan
from fgembed.training.costs.encoders import EXPORTED, OTHER_MIRROR, EncoderCost
from fgembed.training.costs.stages import Rates, Workload
from fgembed.training.pace import Pace
from fgembed.training.preparation import Prepared, trains
from fgembed.training.spread import SAMPLE as SPREAD_SAMPLE
from fgembed.training.teachers.sizes import taught_sizes
from fgembed.training.teachers.teacher import Teacher

DECODED = 32  # images
SOLVED = 384  # dimensions of the eigenproblem that is timed


def workload(prepared: Prepared, images: int) -> Workload:
    """What the run does, by its settings; `images` are trained on."""
    config, method = prepared.config, prepared.method
    return Workload(
        images=images,
        labelled=_labelled(config),
        epochs=config.optimiser.epochs if trains(config, method) else 0,
        teacher_sizes=taught_sizes(prepared, prepared.paths) if method.takes_targets else (),
        larger=config.pooling.of_the_floor().larger,
        start_mirror=prepared.start.reading.mirror,
        mirror=method.encoder.reading.mirror,
    )


def measured_rates(
    prepared: Prepared,
    images: Sequence[Path],
    encoders: Mapping[str, EncoderCost],
    pace: Pace | None,
    teachers: Sequence[Teacher] = (),
) -> Rates:
    """How fast this machine is at what the run does.

    Args:
        prepared: the run.
        images: trained on; a few of them are decoded.
        encoders: as `encoder_costs` gives them, not empty.
        pace: of the training; None if nothing is trained.
        teachers: those beside the start.
    """
    config = prepared.config
    by_mirror = {cost.mirror: cost for cost in (encoders[EXPORTED], encoders[OTHER_MIRROR])}
    started_at = perf_counter()
    sample_pixels(images, config.preprocessing, DECODED)
    rates = Rates(
        decoding_s=(perf_counter() - started_at) / min(len(images), DECODED),
        plain_s=1 / by_mirror[False].speed.images_per_s,
        mirrored_s=1 / by_mirror[True].speed.images_per_s,
        epoch_s=0.0,
        fit_s=_fit_s(prepared, len(images)),
    )
    if pace is None:
        return rates
    others_s = _others_s(teachers, images)
    return replace(rates, epoch_s=_epoch_s(prepared, images, rates, pace), others_s=others_s)


def _others_s(teachers: Sequence[Teacher], images: Sequence[Path]) -> float:
    """An image by all teachers: they read a few, which a run reads again."""
    if not teachers:
        return 0.0
    few = [images[position] for position in evenly_spaced(len(images), DECODED)]
    started_at = perf_counter()
    for teacher in teachers:
        with suppress(FgembedError):  # too few may differ to be fitted to
            teacher.fit(few)
    return (perf_counter() - started_at) / len(few)


def _epoch_s(prepared: Prepared, images: Sequence[Path], rates: Rates, pace: Pace) -> float:
    """Its steps, and the images that are embedded at its end, with batch norms: twice as long."""
    config = prepared.config
    steps = len(images) // config.optimiser.batch_size
    scored = {"last": 0, "holdout": len(prepared.paths), "test": _labelled(config)}[config.select]
    embedded = scored + min(len(images), SPREAD_SAMPLE)
    read_s = rates.read_s(prepared.method.encoder.reading.mirror)
    return steps * (pace.step_s + pace.waiting_s) + 2 * embedded * read_s


def with_pick(config: RunConfig, work: Workload) -> RunConfig:
    """The settings of a run that does `work`: ordinary ones, which a resumed run reads.

    Where nothing is trained, the run is the fitted start.
    """
    if not work.epochs:
        untrained = type(config.method).model_validate({"name": "none"})
        pooling = config.pooling.model_copy(update={"kind": "auto"})
        return config.model_copy(update={"method": untrained, "pooling": pooling})
    optimiser = config.optimiser.model_copy(update={"epochs": work.epochs})
    config = config.model_copy(update={"optimiser": optimiser})
    if not work.teacher_sizes:
        return config
    choice = config.method.model_dump() | {"sizes": work.teacher_sizes}
    return config.model_copy(update={"method": type(config.method).model_validate(choice)})


def _labelled(config: RunConfig) -> int:
    if not (config.eval.gallery and config.eval.queries):
        return 0
    folders = {Path(folder).resolve() for folder in (config.eval.gallery, config.eval.queries)}
    return sum(len(scan(folder, config.include_clutter).paths) for folder in folders)


def _fit_s(prepared: Prepared, count: int) -> float:
    """Of a closed form, in units of one small eigenproblem.

    Eigenproblems, six with a second size and two without, grow as the cube of the images or of the
    levels' dimensions; products of matrices, as the square of all dimensions. The factors are those
    of a MobileNetV2 (3,072 dimensions) with 200 to 2,640 images.
    """
    method, settings = prepared.method, prepared.config.pooling.of_the_floor()
    joined = method.encoder.dimensions
    size = min(count, joined if method.encoder.levels is None else round(0.6 * joined))
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(SOLVED, SOLVED, generator=generator, dtype=torch.float64)
    matrix = matrix @ matrix.T
    torch.linalg.eigh(matrix)  # the first one of a process loads libraries
    started_at = perf_counter()
    torch.linalg.eigh(matrix)
    one_s = perf_counter() - started_at
    problems, products = (6, 70) if settings.larger > 1 else (2, 20)
    return one_s * (problems * (size / SOLVED) ** 3 + products * (joined / 3072) ** 2)
