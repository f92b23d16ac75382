"""Weights from files; a pickle's code is never run."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fgembed.errors import ConfigError, IntegrityError, NotFoundError

WRAPPERS = ("state_dict", "model", "model_state", "net")
STATE_REMEDY = "save the model's state dict and give that file"
WEIGHTS_REMEDY = "give weights of that backbone, or name the backbone that they belong to"


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors by name of a `.safetensors`, `.pt` or `.pth` file.

    An enclosing `state_dict` or `model` table and DDP's prefix `module.` are removed.

    Raises:
        NotFoundError: the file does not exist.
        IntegrityError: the file is damaged or holds more than tensors.
    """
    if not file.is_file():
        raise NotFoundError(f"no weights at {file}", "give a .safetensors or .pt file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged archives and refused pickles raise nearly any class of error.
        reason = str(error).partition("\n")[0]
        raise IntegrityError(
            f"cannot read weights from {file}: {reason}",
            "restore the file from a copy, or save its tensors alone as .safetensors",
        ) from None
    return _tensors(content, file)


def load_weights(trunk: nn.Module, state: Mapping[str, Tensor], source: str, name: str) -> None:
    """Copies a trunk's weights from a state, which may also hold a classifier.

    Args:
        trunk: of the backbone `name`.
        state: tensors under the trunk's names.
        source: of the state, for messages.
        name: of the backbone, for messages.

    Raises:
        ConfigError: a weight is missing or of another shape.
    """
    expected = trunk.state_dict()
    for key, value in expected.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise ConfigError(f"{source} does not fit {name}: no {key!r}", WEIGHTS_REMEDY)
        if key in state and state[key].shape != value.shape:
            raise ConfigError(
                f"{source} does not fit {name}: {key!r} is {tuple(state[key].shape)}, "
                f"expected {tuple(value.shape)}",
                WEIGHTS_REMEDY,
            )
    trunk.load_state_dict({key: state.get(key, value) for key, value in expected.items()})


def _tensors(content: object, file: Path) -> dict[str, Tensor]:
    while isinstance(content, dict):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise IntegrityError(f"{file} holds no table of tensors", STATE_REMEDY)
    tensors = {
        str(key).removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise IntegrityError(f"{file} holds no tensors", STATE_REMEDY)
    return tensors
