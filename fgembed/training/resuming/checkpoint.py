"""The checkpoint of a training: everything that continues it exactly.

Tensors are safetensors and everything else JSON; nothing is pickled.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fgembed.disk.json_records import record
from fgembed.errors import IntegrityError
from fgembed.training.resuming.fingerprint import Fingerprint
from fgembed.training.resuming.state_file import (
    load_trained,
    read_state_file,
    read_state_note,
    write_state_file,
)
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class Position:
    """Where a training stands.

    Attributes:
        step: steps taken.
        fingerprint: of the training that took them.
    """

    step: int
    fingerprint: Fingerprint


def save_state(
    run: RunFolder,
    method: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    position: Position,
) -> None:
    """Writes everything that continues the run, as one file that is replaced atomically."""
    write_state_file(run.checkpoint, state_tensors(method, optimisers), asdict(position))


def state_tensors(
    method: nn.Module, optimisers: Sequence[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """The tensors of a checkpoint: weights, queues, the optimisers' moments, random states."""
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


def has_state(run: RunFolder) -> bool:
    """Whether a run can be resumed from a checkpoint."""
    return run.checkpoint.is_file()


def read_position(run: RunFolder) -> Position | None:
    """The position of a run's checkpoint; None if it has no checkpoint.

    Raises:
        IntegrityError: the checkpoint is damaged or of another format.
    """
    return _position(run, read_state_note(run.checkpoint)) if has_state(run) else None


def where_it_continues(run: RunFolder, steps_done: int, steps: int, epochs: int) -> str:
    """One line on a run that was begun before.

    Args:
        run: its folder.
        steps_done: in its checkpoint, 0 without one.
        steps: of the complete training, 0 if nothing is trained.
        epochs: likewise.

    Example:
        >>> from pathlib import Path
        >>> where_it_continues(RunFolder(Path("runs/moco-1")), 123, 410, 10)
        'continues moco-1 at epoch 4 of 10 (step 124 of 410)'
    """
    name = run.path.name
    if steps_done >= steps:
        done = f"all {epochs} epochs of {name} are trained" if steps else f"{name} trains nothing"
        if not run.report.is_file():
            return f"{done}; what is left: whitening and measuring"
        return (
            f"{done} and it is finished: it is only measured again; export it with "
            f'"fgembed export {shlex.quote(name)}", or train anew with "fgembed train"'
        )
    if not steps_done:
        return f"{name} has no checkpoint yet: it begins with epoch 1 of {epochs}"
    epoch = steps_done // (steps // epochs) + 1
    return f"continues {name} at epoch {epoch} of {epochs} (step {steps_done + 1} of {steps})"


def load_state(
    run: RunFolder, method: nn.Module, optimisers: Sequence[torch.optim.Optimizer]
) -> Position:
    """Restores what `save_state` wrote, random states too, and returns its position.

    Raises:
        IntegrityError: the checkpoint is damaged, of another format, or of another model.
    """
    tensors, note = _restore_method(run, method)
    position = _position(run, note)
    for number, optimiser in enumerate(optimisers):
        state = optimiser.state_dict()
        for name, value in _below(f"optimiser.{number}.", tensors).items():
            index, _, slot = name.partition(".")
            state["state"].setdefault(int(index), {})[slot] = value
        optimiser.load_state_dict(state)
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return position


def load_method(run: RunFolder, method: nn.Module) -> None:
    """Restores the method alone.

    Raises:
        IntegrityError: the checkpoint is damaged, of another format, or of another model.
    """
    _restore_method(run, method)


def _restore_method(run: RunFolder, method: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restores the method; returns all tensors of the checkpoint by name, and its note."""
    tensors, note = read_state_file(run.checkpoint)
    try:
        load_trained(method, _below("method.", tensors))
    except RuntimeError:
        raise IntegrityError(
            f"{run.checkpoint} is of another model than {run.config} says",
            f"set the backbone, the pooling and the method of {run.config} back, "
            "or start a new run",
        ) from None
    return tensors, note


def _position(run: RunFolder, note: dict[str, Any]) -> Position:
    try:
        return record(Position, note)
    except ValueError as error:  # another file of a run has its name
        raise IntegrityError(
            f"{run.checkpoint} is no checkpoint: {error}",
            f"restore it from a copy, or remove {run.state} to train again from the start",
        ) from None


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
