"""What a run leaves on disk: the finished encoder, and the state that resumes training exactly.

Tensors are safetensors and everything else JSON; nothing is pickled.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fgembed.errors import IntegrityError
from fgembed.model.tensor_files import read_note, read_tensors, write_tensors

STATE_FORMAT = 2
STATE_FILE = Path("state") / "checkpoint.safetensors"


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
