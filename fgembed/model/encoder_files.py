"""The encoder on disk: `encoder.safetensors`, and `encoder.json`, which describes it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fgembed.backbones import make_backbone
from fgembed.bundle import ENCODER_FILE, WEIGHTS_FILE, Bundle
from fgembed.disk.files import read_json, sha256, write_json
from fgembed.disk.json_records import record
from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import make_pooling
from fgembed.model.tensor_files import read_tensors, write_tensors
from fgembed.model.whitening import Whitening
from fgembed.workspace import EncoderFolder

ENCODER_FORMAT = 2


@dataclass(frozen=True)
class EncoderFile:
    """What `encoder.json` says.

    Attributes:
        format: of the two files.
        backbone: `<library>/<name>`.
        pooling: kind of pooling of the last map.
        depths: of inner levels.
        level_weight: of each inner level.
        mirror: whether it averages with the mirror image.
        whitening: its input and output dimensions, if there is one.
        preprocessing: what happens to a picture first.
        sha256: of `encoder.safetensors`.
    """

    format: int
    backbone: str
    pooling: str
    depths: list[float]
    level_weight: float
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
        ENCODER_FORMAT,
        encoder.backbone.name,
        encoder.pooling.kind,
        list(encoder.depths),
        encoder.level_weight,
        encoder.mirror,
        None if whitening is None else list(whitening.projection.shape),
        spec.to_json(),
        sha256(file),
    )
    write_json(EncoderFolder(folder).description, asdict(description))


def read_encoder_file(folder: Path) -> EncoderFile:
    """What a folder's `encoder.json` says.

    Raises:
        NotFoundError: the run has no encoder yet.
        IntegrityError: the file is damaged or of another format.
    """
    file = EncoderFolder(folder).description
    if not file.is_file():
        raise NotFoundError(
            f"{folder} holds no finished encoder", 'finish it with "fgembed train --resume"'
        )
    content = read_json(file, "encoder")
    if content.get("format") != ENCODER_FORMAT:
        raise IntegrityError(
            f"{folder} holds an encoder of format {content.get('format')!r}, "
            f"this fgembed reads {ENCODER_FORMAT}",
            "train it again",
        )
    try:
        return record(EncoderFile, content)
    except ValueError as error:
        raise IntegrityError(f"{file} is damaged: {error}") from None


def load_bundle_encoder(folder: Path) -> tuple[Encoder, Preprocessing]:
    """A bundle's encoder for torch, in evaluation mode: the one that was exported.

    Example:
        encoder, spec = load_bundle_encoder(Path("bundle"))
        vectors = PixelEncoder(encoder, spec)(pixels)[0]  # uint8 (B, size, size, 3)

    Raises:
        NotFoundError: there is no bundle, or it is of an fgembed that did not keep this.
        IntegrityError: a file of it is damaged.
    """
    Bundle.open(folder, every_file=True)
    if not (folder / ENCODER_FILE).is_file():
        raise NotFoundError(f"{folder} has no {ENCODER_FILE}", "export it again")
    return load_encoder(folder, folder / WEIGHTS_FILE)


def load_encoder(folder: Path, weights: Path | None = None) -> tuple[Encoder, Preprocessing]:
    """The encoder that `save_encoder` wrote, in evaluation mode, and its preprocessing.

    Args:
        folder: holds `encoder.json`.
        weights: the tensors; `encoder.safetensors` beside it if None.

    Raises:
        NotFoundError: the run has no encoder yet.
        IntegrityError: the files are damaged or of an unknown format.
    """
    description = read_encoder_file(folder)
    file = weights or EncoderFolder(folder).weights
    try:
        if not file.is_file() or sha256(file) != description.sha256:
            raise IntegrityError(f"{file} is missing or differs from its checksum")
        spec = Preprocessing.from_json(description.preprocessing, folder)
        backbone = make_backbone(description.backbone, size=spec.size)
        pooling = make_pooling(description.pooling, backbone.channels)
        whitening = Whitening(*description.whitening) if description.whitening else None
        encoder = Encoder(
            backbone,
            pooling,
            whitening,
            tuple(description.depths),
            description.level_weight,
            description.mirror,
        )
        encoder.load_state_dict(read_tensors(file))
    except (ValueError, TypeError, ArithmeticError, RuntimeError, KeyError, ConfigError) as error:
        raise IntegrityError(f"{EncoderFolder(folder).description} is damaged: {error}") from None
    return encoder.eval(), spec
