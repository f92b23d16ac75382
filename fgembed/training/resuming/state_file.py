"""What resumes a training, as safetensors files with a format number in their note."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fgembed.errors import IntegrityError
from fgembed.model.tensor_files import (
    equals_checksum,
    read_tensors,
    unchecked_note,
    write_tensors,
)

STATE_FORMAT = 3
CENTRE = "levels.centre"  # of an encoder


def write_state_file(file: Path, tensors: dict[str, Tensor], note: dict[str, Any]) -> None:
    """Replaces a state file atomically.

    Args:
        file: where to.
        tensors: by name, on any device.
        note: a JSON object that is stored beside them.
    """
    write_tensors(file, tensors, note | {"format": STATE_FORMAT})


def read_state_file(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the note of a state file.

    Raises:
        IntegrityError: the file is damaged or of another format.
    """
    note = read_state_note(file)
    return read_tensors(file), note


def load_trained(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Loads a module's tensors but for its levels' centre, which is fitted after the training.

    Settings that may change before a resume say whether the mean is read beside the levels, and
    so how long the centre is.

    Raises:
        RuntimeError: the tensors are of another module.
    """
    own = {name: value for name, value in module.state_dict().items() if name.endswith(CENTRE)}
    trained = {name: value for name, value in tensors.items() if not name.endswith(CENTRE)}
    module.load_state_dict(trained | own)


def read_state_note(file: Path) -> dict[str, Any]:
    """The note of a state file; the complete file is checked.

    Raises:
        IntegrityError: the file is damaged or of another format.
    """
    if not equals_checksum(file):
        raise _refusal(file)
    note = unchecked_note(file)
    if note.pop("format", None) != STATE_FORMAT:
        raise _refusal(file)
    return note


def _refusal(file: Path) -> IntegrityError:
    """Says that the file is of an earlier format, or else that it is damaged."""
    try:
        version = unchecked_note(file).get("format")
    except Exception:  # safetensors raises its own error, OSError or ValueError
        version = STATE_FORMAT
    if isinstance(version, int) and version != STATE_FORMAT:
        return IntegrityError(
            f"{file} is of format {version}, this fgembed reads {STATE_FORMAT}", "start a new run"
        )
    return IntegrityError(
        f"{file} is damaged: it differs from its checksum",
        f"restore it from a copy, or remove {file.parent} to train again from the start",
    )
