"""What a student learns: the training images, read by the start at several sizes.

It depends on the start and the images alone, so that a resumed run learns the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.base import Method
from fgembed.model.calibration import BATCH_SIZE, SAMPLE, batch_of_as_many_pixels
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.neighbourhood import with_neighbours
from fgembed.model.reading.whitening import Spectrum
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
    scales = [replace(settings, larger=scale) for scale in method.target_sizes]
    sides = sorted({shared.larger_side(scale) for scale in scales})
    report_stage(
        f"reading the photographs at {', '.join(map(str, sides))} px: what the student learns"
    )
    targets = read_at(sides, start, paths, spec, settings, prepared.device)
    targets = with_neighbours(targets, method.target_neighbours)
    shared.calibrate(paths, settings.to_targets(), targets=targets)
    centre = None if student.levels is None else student.levels.centre
    method.take_targets(targets, student.whitening, centre)


def read_at(
    sides: Sequence[int],
    start: Encoder,
    paths: Sequence[Path],
    spec: Preprocessing,
    settings: FitSettings,
    device: torch.device,
) -> Tensor:
    """The images' unit vectors (N, D) by the start, which is fitted to them at each side apart.

    The vectors of the sides stand side by side, so that their cosines are averaged, and are
    projected on their principal directions.

    Args:
        sides: in pixels.
        start: is not changed.
        paths: of the images; one that cannot be read any more gets zeros.
        spec: the preprocessing, of the encoder's own size.
        settings: of the fit.
        device: where the backbone runs.
    """
    readers = [_Reader(start, side, spec, settings, device) for side in sides]
    fits = [reader.fit(paths) for reader in readers]
    readable = torch.stack([fit.any(dim=1) for fit in fits]).all(dim=0)
    sample = torch.cat([fit[readable] for fit in fits], dim=1)
    spectrum = Spectrum.of(sample, settings.dimensions)
    widths = [fit.shape[1] for fit in fits]
    directions = torch.split(spectrum.directions, widths)
    means = torch.split(spectrum.mean, widths)
    # All of a small set are in the sample.
    parts = iter(fits) if len(paths) <= SAMPLE else _read_all(readers, paths)
    targets = torch.zeros(len(paths), spectrum.directions.shape[1])
    readable = torch.ones(len(paths), dtype=torch.bool)
    for part, mean, layer in zip(parts, means, directions, strict=True):
        targets += (part - mean.float()) @ layer.float()
        readable &= part.any(dim=1)
    return F.normalize(targets, dim=1) * readable[:, None]


class _Reader:
    """The start at one size, with a fit of its own."""

    def __init__(
        self,
        start: Encoder,
        side: int,
        spec: Preprocessing,
        settings: FitSettings,
        device: torch.device,
    ) -> None:
        self.encoder = Encoder(start.backbone, start.pooling, reading=start.reading)
        batch_size = batch_of_as_many_pixels(BATCH_SIZE, spec.size, side)
        spec = replace(spec, size=side)
        self.shared = SharedPass({"reader": self.encoder}, spec, device, batch_size)
        self.settings = replace(settings, larger=1.0)
        self.device = device

    @torch.no_grad()
    def fit(self, paths: Sequence[Path]) -> Tensor:
        """Fits the reading; the unit vectors (S, D) of the sample, zero for what is unreadable."""
        sample = self.shared.calibrate(paths, self.settings)
        vectors = torch.zeros(min(len(paths), SAMPLE), self.encoder.dimensions)
        pooled = sample.vectors["reader"].to(self.device)
        vectors[sample.positions] = self.encoder.finish(pooled).cpu()
        return vectors

    def read(self, paths: Sequence[Path]) -> Tensor:
        """The unit vectors (N, D) of all images, zero for what is unreadable."""
        embedded = self.shared.embed(paths, "reader")
        position = {path: number for number, path in enumerate(paths)}
        vectors = torch.zeros(len(paths), self.encoder.dimensions)
        vectors[[position[path] for path in embedded.paths]] = torch.from_numpy(embedded.vectors)
        return vectors


def _read_all(readers: list[_Reader], paths: Sequence[Path]) -> Iterator[Tensor]:
    """Each reader's vectors of all images; those of one at a time are in memory."""
    readers.reverse()
    while readers:
        yield readers.pop().read(paths)


def give_placeholders(method: Method, count: int) -> None:
    """Gives a method that takes targets any that are as large: its steps cost the same."""
    if method.takes_targets:
        method.take_targets(F.normalize(torch.ones(count, PLACEHOLDERS), dim=1))
