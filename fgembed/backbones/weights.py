"""Weights from files, without ever running what a pickle asks for."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fgembed.errors import ConfigError, IntegrityError, NotFoundError
from fgembed.text import nearest

WRAPPERS = ("state_dict", "model", "model_state", "net")


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors`, `.pt` or `.pth` file by name.

    A wrapping `state_dict` or `model` table and the prefix `module.` of DDP are removed.

    Raises:
        NotFoundError: there is no such file.
        IntegrityError: the file is damaged or holds more than tensors.
    """
    if not file.is_file():
        raise NotFoundError(f"no weights at {file}", "give a .safetensors or .pt file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged archives raise nearly anything; a refused pickle is among them.
        reason = str(error).partition("\n")[0]
        raise IntegrityError(f"cannot read weights from {file}: {reason}") from None
    return _tensors(content, file)


def load_weights(trunk: nn.Module, state: Mapping[str, Tensor], source: str, name: str) -> None:
    """Copies the trunk's weights out of a state that may also hold a classifier.

    Args:
        trunk: of the backbone `name`.
        state: by the trunk's names.
        source: where it is from, for messages.
        name: of the backbone, for messages.

    Raises:
        ConfigError: a weight is missing or of another shape.
    """
    wanted = trunk.state_dict()
    for key, value in wanted.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise ConfigError(f"{source} does not fit {name}: no {key!r}", nearest(key, state))
        if key in state and state[key].shape != value.shape:
            raise ConfigError(
                f"{source} does not fit {name}: {key!r} is {tuple(state[key].shape)}, "
                f"expected {tuple(value.shape)}"
            )
    trunk.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})


def _tensors(content: object, file: Path) -> dict[str, Tensor]:
    while isinstance(content, dict):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict):
        raise IntegrityError(f"{file} holds no table of tensors", "expected a state dict")
    tensors = {
        str(key).removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise IntegrityError(f"{file} holds no tensors", "expected a state dict")
    return tensors
