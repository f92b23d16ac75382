"""What a run leaves on disk: the finished encoder, and the state that resumes training exactly.

Tensors are safetensors and everything else JSON; nothing is pickled.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fgembed.backbones import make_backbone
from fgembed.bundle import ENCODER_FILE, WEIGHTS_FILE, Bundle
from fgembed.calibration import Whitening
from fgembed.encoder import Encoder
from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.files import read_json, sha256, write_json
from fgembed.images import Preprocessing
from fgembed.pooling import make_pooling
from fgembed.records import record
from fgembed.tensor_files import read_note, read_tensors, write_tensors

ENCODER_FORMAT = 2
STATE_FORMAT = 2
STATE_FILE = Path("state") / "checkpoint.safetensors"


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
    file = folder / "encoder.safetensors"
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
    write_json(folder / ENCODER_FILE, asdict(description))


def read_encoder_file(folder: Path) -> EncoderFile:
    """What a folder's `encoder.json` says.

    Raises:
        NotFoundError: the run has no encoder yet.
        IntegrityError: the file is damaged or of another format.
    """
    if not (folder / ENCODER_FILE).is_file():
        raise NotFoundError(
            f'{folder} holds no finished encoder; finish it with "fgembed train --resume"'
        )
    content = read_json(folder / ENCODER_FILE, "encoder")
    if content.get("format") != ENCODER_FORMAT:
        raise IntegrityError(
            f"{folder} holds an encoder of format {content.get('format')!r}, "
            f"this fgembed reads {ENCODER_FORMAT}; train it again"
        )
    try:
        return record(EncoderFile, content)
    except ValueError as error:
        raise IntegrityError(f"{folder / 'encoder.json'} is damaged: {error}") from None


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
        raise NotFoundError(f"{folder} has no {ENCODER_FILE}; export it again")
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
    file = weights or folder / "encoder.safetensors"
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
        raise IntegrityError(f"{folder / 'encoder.json'} is damaged: {error}") from None
    return encoder.eval(), spec


def save_state(
    folder: Path,
    method: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    position: dict[str, Any],
) -> None:
    """Writes everything that continues the run, as one file that is replaced atomically."""
    tensors = state_tensors(method, optimisers)
    write_tensors(folder / STATE_FILE, tensors, position | {"format": STATE_FORMAT})


def state_tensors(
    method: nn.Module, optimisers: Sequence[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """What a checkpoint holds: weights, queue, the optimisers' moments, random numbers."""
    tensors = {f"method.{name}": value for name, value in method.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for index, slots in optimiser.state_dict()["state"].items():
            for name, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser.{number}.{index}.{name}"] = value
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def load_state(
    folder: Path, method: nn.Module, optimisers: Sequence[torch.optim.Optimizer]
) -> dict[str, Any]:
    """Restores what `save_state` wrote and returns its `position`.

    Raises:
        IntegrityError: the file is damaged, of an unknown format, or of another optimiser.
    """
    tensors = load_method(folder, method)
    position = read_note(folder / STATE_FILE)
    position.pop("format")
    for number, optimiser in enumerate(optimisers):
        table = optimiser.state_dict()
        slots = _below(f"optimiser.{number}.", tensors)
        counts_steps = any(name.endswith(".step") for name in slots)
        if slots and counts_steps != isinstance(optimiser, torch.optim.Adam):
            raise IntegrityError(
                f"{folder / STATE_FILE} is of another optimiser than {folder / 'config.toml'} says"
            )
        for name, value in slots.items():
            index, _, slot = name.partition(".")
            table["state"].setdefault(int(index), {})[slot] = value
        optimiser.load_state_dict(table)
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return position


def load_method(folder: Path, method: nn.Module) -> dict[str, Tensor]:
    """Restores the method alone; all that `save_state` wrote, by name.

    Raises:
        IntegrityError: the file is damaged, of an unknown format, or of another model.
    """
    tensors = read_tensors(folder / STATE_FILE)
    if read_note(folder / STATE_FILE).get("format") != STATE_FORMAT:
        raise IntegrityError(f"{folder / STATE_FILE} is not of format {STATE_FORMAT}")
    try:
        method.load_state_dict(_below("method.", tensors))
    except RuntimeError:
        raise IntegrityError(
            f"{folder / STATE_FILE} is of another model than {folder / 'config.toml'} says"
        ) from None
    return tensors


def has_state(folder: Path) -> bool:
    """Whether a run can be resumed from a checkpoint."""
    return (folder / STATE_FILE).is_file()


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
