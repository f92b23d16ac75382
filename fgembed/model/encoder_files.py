"""The encoder on disk: `encoder.safetensors`, and `encoder.json`, which describes it."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fgembed.backbones import make_backbone
from fgembed.bundle import ENCODER_FILE, WEIGHTS_FILE, Bundle
from fgembed.disk.files import sha256
from fgembed.disk.json_records import record
from fgembed.disk.sealed_files import read_sealed_json, write_sealed_json
from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import make_pooling
from fgembed.model.reading.multi_level import Reading
from fgembed.model.reading.whitening import Whitening
from fgembed.model.tensor_files import read_tensors, write_tensors
from fgembed.workspace import EncoderFolder

ENCODER_FORMAT = 4
SEALED_FORMAT = 3  # the first with a checksum of `encoder.json`
EARLIER_FORMATS = (2, SEALED_FORMAT)  # both without `mean_beside`
RESTORE = "restore it from a copy, or train or export it again"


@dataclass(frozen=True)
class EncoderFile:
    """The content of `encoder.json`.

    Attributes:
        format: version of the two files.
        backbone: `<library>/<name>`.
        pooling: kind of pooling of the last map.
        depths: of inner levels.
        level_weight: of each inner level.
        mean_beside: whether the last map's mean is read beside the levels.
        mirror: whether vectors are averaged with those of the mirror image.
        whitening: its input and output dimensions; None without whitening.
        preprocessing: of the images, as `Preprocessing.to_json`.
        sha256: of `encoder.safetensors`.
    """

    format: int
    backbone: str
    pooling: str
    depths: list[float]
    level_weight: float
    mean_beside: bool
    mirror: bool
    whitening: list[int] | None
    preprocessing: dict[str, Any]
    sha256: str


def save_encoder(folder: Path, encoder: Encoder, spec: Preprocessing) -> None:
    """Writes `encoder.safetensors`, then `encoder.json`, which describes and checks it."""
    file = EncoderFolder(folder).weights
    write_tensors(file, encoder.state_dict())
    whitening = encoder.whitening
    description = EncoderFile(
        format=ENCODER_FORMAT,
        backbone=encoder.backbone.name,
        pooling=encoder.pooling.kind,
        depths=list(encoder.reading.depths),
        level_weight=encoder.reading.level_weight,
        mean_beside=encoder.reading.mean_beside,
        mirror=encoder.reading.mirror,
        whitening=None if whitening is None else list(whitening.projection.shape),
        preprocessing=spec.to_json(),
        sha256=sha256(file),
    )
    write_sealed_json(EncoderFolder(folder).description, asdict(description))


def read_encoder_file(folder: Path) -> EncoderFile:
    """Reads a folder's `encoder.json`.

    Raises:
        NotFoundError: the run has no encoder yet.
        IntegrityError: the file is damaged or of another format.
    """
    file = EncoderFolder(folder).description
    if not file.is_file():
        raise NotFoundError(
            f"{folder} holds no finished encoder",
            f'finish it with "fgembed train --resume --run {shlex.quote(str(folder))}"',
        )
    content = read_sealed_json(file, "encoder", {SEALED_FORMAT, ENCODER_FORMAT})
    if content.get("format") not in (ENCODER_FORMAT, *EARLIER_FORMATS):
        raise IntegrityError(
            f"{folder} holds an encoder of format {content.get('format')!r}, "
            f"this fgembed reads {ENCODER_FORMAT}",
            "train or export it again with this fgembed",
        )
    try:
        earlier = {"mean_beside": False} if content["format"] in EARLIER_FORMATS else {}
        return record(EncoderFile, content | earlier)
    except ValueError as error:
        raise IntegrityError(f"{file} is damaged: {error}", RESTORE) from None


def load_bundle_encoder(folder: Path) -> tuple[Encoder, Preprocessing]:
    """A bundle's encoder for torch, in evaluation mode: the exported one, before ONNX.

    Example:
        encoder, spec = load_bundle_encoder(Path("bundle"))
        vectors = PixelEncoder(encoder, spec)(pixels)[0]  # uint8 (B, size, size, 3)

    Raises:
        NotFoundError: there is no bundle, or it is older than this file.
        IntegrityError: a file of the bundle is damaged.
    """
    Bundle.open(folder, every_file=True)
    if not (folder / ENCODER_FILE).is_file():
        raise NotFoundError(
            f"{folder} has no {ENCODER_FILE}", 'export it again with "fgembed export"'
        )
    return load_encoder(folder, folder / WEIGHTS_FILE)


def load_encoder(folder: Path, weights: Path | None = None) -> tuple[Encoder, Preprocessing]:
    """The encoder that `save_encoder` wrote, in evaluation mode, and its preprocessing.

    Args:
        folder: holds `encoder.json`.
        weights: file of the tensors; None for `encoder.safetensors` in `folder`.

    Raises:
        NotFoundError: the run has no encoder yet.
        IntegrityError: the files are damaged or of an unknown format.
    """
    description = read_encoder_file(folder)
    file = weights or EncoderFolder(folder).weights
    if not file.is_file() or sha256(file) != description.sha256:
        raise IntegrityError(f"{file} is missing or differs from its checksum", RESTORE)
    try:
        spec = Preprocessing.from_json(description.preprocessing, folder)
        encoder = _build(description, spec.size)
        encoder.load_state_dict(read_tensors(file))
    except (ValueError, TypeError, ArithmeticError, RuntimeError, KeyError, ConfigError) as error:
        reason = error.fact if isinstance(error, ConfigError) else error
        raise IntegrityError(
            f"{EncoderFolder(folder).description} is damaged: {reason}", RESTORE
        ) from None
    return encoder.eval(), spec


def _build(description: EncoderFile, size: int) -> Encoder:
    """An encoder with random weights, for images of `size` px."""
    backbone = make_backbone(description.backbone, size=size)
    whitening = None
    if description.whitening:
        channels, dimensions = description.whitening
        whitening = Whitening(channels, dimensions)
    return Encoder(
        backbone,
        make_pooling(description.pooling, backbone.channels),
        whitening,
        Reading(
            tuple(description.depths),
            description.level_weight,
            description.mean_beside,
            description.mirror,
        ),
    )
