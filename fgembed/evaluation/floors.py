"""The floors: several readings of the untouched start, which every score is shown beside.

On disk, `start/encoder.*` hold the calibrated start, and `start/whitenings.safetensors` holds the
whitenings of the readings below it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from fgembed.backbones import Backbone
from fgembed.config import PoolingSettings
from fgembed.errors import IntegrityError
from fgembed.evaluation.floor_table import POOLING_NAMES
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, best_pooling, mean_pooled
from fgembed.model.encoder_files import load_encoder, read_encoder_file, save_encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.multi_level import PLAIN, Reading, reading_of
from fgembed.model.reading.whitening import Whitening
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.tensor_files import read_note, read_tensors, write_tensors
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class Floor:
    """One reading of the untouched start.

    Attributes:
        name: of its row in the floor table.
        encoder: on the backbone that all floors share.
    """

    name: str
    encoder: Encoder


class Floors:
    """The readings of one untouched start, lowest first.

    Attributes:
        unwhitened: mean pooling; where the start is mirrored, then the same with the mirror image.
        whitened: the readings with whitening below the calibrated start, lowest first.
        calibrated_start: the highest reading, which a run must not fall below.
        spec: the preprocessing of all of them.

    Example:
        >>> from fgembed.backbones import make_backbone
        >>> backbone = make_backbone("torchvision/resnet18:layer1", size=32)
        >>> start = uncalibrated_start(backbone, PoolingSettings())
        >>> for floor in Floors(start, Preprocessing(size=32)).readings:
        ...     print(floor.name)
        untouched start, mean pooling
        untouched start, mean pooling + mirror
        untouched start, GeM + whitening
        untouched start, GeM + whitening + mirror
        untouched start, fitted reading + mirror
    """

    def __init__(self, start: Encoder, spec: Preprocessing) -> None:
        """The floors of a start; only `calibrate` and `load` give them whitenings.

        Args:
            start: the highest reading; see `uncalibrated_start`.
            spec: the preprocessing.
        """
        self.spec = spec
        self.calibrated_start = Floor(_row_name(start), start)
        plain = [PLAIN, Reading(mirror=True)] if start.reading.mirror else [PLAIN]
        self.unwhitened = [
            Floor(
                f"untouched start, mean pooling{' + mirror' * reading.mirror}",
                mean_pooled(start, reading),
            )
            for reading in plain
        ]
        lower = [Encoder(start.backbone, start.pooling, reading=reading) for reading in plain]
        named = [Floor(_row_name(encoder), encoder) for encoder in lower]
        # A backbone without inner levels reads one of these as it reads the start.
        self.whitened = [floor for floor in named if floor.name != self.calibrated_start.name]

    @property
    def readings(self) -> list[Floor]:
        """All floors, lowest first; the last one is the calibrated start."""
        return [*self.unwhitened, *self.whitened, self.calibrated_start]

    def calibrate(
        self, paths: Sequence[Path], device: torch.device, settings: PoolingSettings
    ) -> None:
        """Fits every last layer on unlabelled images, in one pass; two with a larger size.

        Args:
            paths: the training images.
            device: where the backbone runs.
            settings: of the run.
        """
        settings = settings.of_the_floor()
        shared = self._shared_pass([*self.whitened, self.calibrated_start], device)
        shared.calibrate(paths, FitSettings.of(settings))

    def shared_pass(self, device: torch.device) -> SharedPass:
        """Embedders of all floors, by row name; an image passes through the backbone once."""
        return self._shared_pass(self.readings, device)

    def save(self, run: Path) -> None:
        """Writes the calibrated start as an encoder, and the other whitenings.

        Args:
            run: the run folder.
        """
        tensors = {
            f"{number}.{name}": value
            for number, floor in enumerate(self.whitened, start=1)
            if floor.encoder.whitening is not None
            for name, value in floor.encoder.whitening.state_dict().items()
        }
        folder = RunFolder(run)
        save_encoder(folder.start.path, self.calibrated_start.encoder, self.spec)
        note = {"start": read_encoder_file(folder.start.path).sha256}
        write_tensors(folder.whitenings, tensors, note)

    @classmethod
    def load(cls, run: Path) -> Self:
        """The floors that `save` wrote.

        Raises:
            NotFoundError: the run is not finished.
            IntegrityError: a file is damaged.
        """
        folder = RunFolder(run)
        start, spec = load_encoder(folder.start.path)
        floors = cls(start, spec)
        tensors = read_tensors(folder.whitenings)
        note = read_note(folder.whitenings)
        if note.get("start") != read_encoder_file(folder.start.path).sha256:
            raise _other_start(run)
        try:
            for number, floor in enumerate(floors.whitened, start=1):
                floor.encoder.whitening = _whitening(tensors, number, floor.encoder.dimensions)
        except (KeyError, RuntimeError, TypeError, IndexError):
            raise _other_start(run) from None
        return floors

    def _shared_pass(self, floors: Sequence[Floor], device: torch.device) -> SharedPass:
        return SharedPass({floor.name: floor.encoder for floor in floors}, self.spec, device)


def uncalibrated_start(
    backbone: Backbone, settings: PoolingSettings, may_mirror: bool = True
) -> Encoder:
    """The calibrated start before its calibration: the best reading without training.

    Args:
        backbone: the untouched backbone.
        settings: of the run; where they read no inner levels, the defaults apply.
        may_mirror: whether an image and its mirror image show the same.
    """
    reading = reading_of(settings.of_the_floor())
    return Encoder(
        backbone,
        best_pooling(backbone),
        reading=reading if may_mirror else replace(reading, mirror=False),
    )


def _whitening(tensors: dict[str, Tensor], number: int, dimensions: int) -> Whitening:
    mean, projection = tensors[f"{number}.mean"], tensors[f"{number}.projection"]
    whitening = Whitening(dimensions, projection.shape[1])
    whitening.load_state_dict({"mean": mean, "projection": projection})
    return whitening


def _other_start(run: Path) -> IntegrityError:
    return IntegrityError(
        f"{RunFolder(run).whitenings} is of another start",
        "restore it from a copy, or fit it again with "
        f'"fgembed train --resume --run {shlex.quote(str(run))}"',
    )


def _row_name(encoder: Encoder) -> str:
    kind, mirror = encoder.pooling.kind, " + mirror" * encoder.reading.mirror
    if encoder.reading.mean_beside:
        return f"untouched start, fitted reading{mirror}"
    levels = 1 if encoder.levels is None else len(encoder.levels.sizes)
    reading = f"{levels} levels" if levels > 1 else POOLING_NAMES.get(kind, kind)
    return f"untouched start, {reading} + whitening{mirror}"
