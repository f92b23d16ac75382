"""The untouched start, read in several ways: the floors that no score is shown without."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fgembed.backbones import Backbone
from fgembed.config import PoolingSettings
from fgembed.errors import IntegrityError
from fgembed.evaluation.floor_table import POOLING_NAMES
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, best_pooling, mean_pooled
from fgembed.model.encoder_files import load_encoder, read_encoder_file, save_encoder
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.tensor_files import read_note, read_tensors, write_tensors
from fgembed.model.whitening import Whitening
from fgembed.workspace import RunFolder

FLOOR_MEAN = "untouched start, mean pooling"


def calibrated_start(backbone: Backbone, settings: PoolingSettings) -> Encoder:
    """The start read as well as we can without training, still to be calibrated.

    As a run's settings say where they read inner levels, else by the defaults.
    """
    settings = settings.of_the_floor()
    return Encoder(
        backbone,
        best_pooling(backbone),
        depths=settings.levels,
        level_weight=settings.level_weight,
        mirror=settings.mirror,
    )


def floor_encoders(start: Encoder) -> dict[str, Encoder]:
    """The readings by the name of their row, lowest first; the last one is `start` itself."""
    backbone, pooling = start.backbone, start.pooling
    plain = Encoder(backbone, pooling)
    rows = {FLOOR_MEAN: mean_pooled(start), _name(plain): plain}
    if start.mirror:
        mirrored = Encoder(backbone, pooling, mirror=True)
        rows[_name(mirrored)] = mirrored
    return rows | {_name(start): start}


def calibrate_floors(
    start: Encoder,
    paths: Sequence[Path],
    spec: Preprocessing,
    device: torch.device,
    settings: PoolingSettings,
) -> dict[str, Encoder]:
    """Fits every floor on unlabelled pictures in one pass; `floor_encoders`, whitened."""
    floors = floor_encoders(start)
    whitened = {name: encoder for name, encoder in floors.items() if name != FLOOR_MEAN}
    settings = settings.of_the_floor()
    SharedPass(whitened, spec, device).calibrate(paths, settings.whitening, settings.shrinkage)
    return floors


def save_floors(run: Path, floors: dict[str, Encoder], spec: Preprocessing) -> None:
    """Writes the calibrated start as an encoder, and the whitenings of the other readings."""
    *others, start = floors.values()
    tensors = {
        f"{number}.{name}": value
        for number, encoder in enumerate(others)
        if encoder.whitening is not None
        for name, value in encoder.whitening.state_dict().items()
    }
    save_encoder(RunFolder(run).start.path, start, spec)
    write_tensors(
        RunFolder(run).whitenings,
        tensors,
        {"start": read_encoder_file(RunFolder(run).start.path).sha256},
    )


def load_floors(run: Path) -> dict[str, Encoder]:
    """What `save_floors` wrote.

    Raises:
        NotFoundError: the run is not finished.
        IntegrityError: a file is damaged.
    """
    start, _ = load_encoder(RunFolder(run).start.path)
    floors = floor_encoders(start)
    tensors = read_tensors(RunFolder(run).whitenings)
    if (
        read_note(RunFolder(run).whitenings).get("start")
        != read_encoder_file(RunFolder(run).start.path).sha256
    ):
        raise IntegrityError(f"{RunFolder(run).whitenings} is of another start")
    *others, _ = floors.values()
    try:
        for number, encoder in enumerate(others[1:], start=1):
            mean, projection = tensors[f"{number}.mean"], tensors[f"{number}.projection"]
            encoder.whitening = Whitening(encoder.dimensions, projection.shape[1])
            encoder.whitening.load_state_dict({"mean": mean, "projection": projection})
    except (KeyError, RuntimeError, TypeError, IndexError) as error:
        raise IntegrityError(f"{RunFolder(run).whitenings} is of another start: {error}") from None
    return floors


def _name(encoder: Encoder) -> str:
    kind = encoder.pooling.kind
    levels = 1 if encoder.levels is None else len(encoder.levels.sizes)
    read = f"{levels} levels" if levels > 1 else POOLING_NAMES.get(kind, kind)
    return f"untouched start, {read} + whitening{' + mirror' if encoder.mirror else ''}"
