"""Safetensors files that are checked as a whole: one SHA-256 covers every byte.

The checksum stands in the header of the file that it covers, so that both are replaced in one
step. It is the SHA-256 of the file with zeros in the checksum's own place.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from fgembed.disk.files import atomic_write
from fgembed.errors import IntegrityError
from fgembed.model.tensor_files import read_note, read_tensors

STATE_FORMAT = 3
CHECKSUM_KEY = "file_sha256"
PLACEHOLDER = b"0" * 64
CHECKSUM = re.compile(rb'"file_sha256":"([0-9a-f]{64})"')


def write_state_file(file: Path, tensors: dict[str, Tensor], note: dict[str, Any]) -> None:
    """Replaces a state file atomically.

    Args:
        file: where to.
        tensors: by name, on any device.
        note: a JSON object that is stored beside them.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {
        "note": json.dumps(note | {"format": STATE_FORMAT}),
        CHECKSUM_KEY: PLACEHOLDER.decode(),
    }
    content = memoryview(save(plain, header))
    match = CHECKSUM.search(content)
    assert match is not None
    with atomic_write(file) as stream:
        stream.write(content[: match.start(1)])
        stream.write(hashlib.sha256(content).hexdigest().encode())
        stream.write(content[match.end(1) :])


def read_state_file(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the note of a state file.

    Raises:
        IntegrityError: the file is damaged or of another format.
    """
    note = read_state_note(file)
    return read_tensors(file), note


def read_state_note(file: Path) -> dict[str, Any]:
    """The note of a state file; the complete file is checked.

    Raises:
        IntegrityError: the file is damaged or of another format.
    """
    if not _equals_checksum(file):
        raise _refusal(file)
    note = read_note(file)
    if note.pop("format", None) != STATE_FORMAT:
        raise _refusal(file)
    return note


def _equals_checksum(file: Path) -> bool:
    with file.open("rb") as stream:
        prefix = stream.read(8)
        # A damaged length may be larger than any memory.
        length = min(int.from_bytes(prefix, "little"), file.stat().st_size)
        header = stream.read(length)
        match = CHECKSUM.search(header)
        if match is None:
            return False
        running = hashlib.sha256(prefix)
        running.update(header[: match.start(1)] + PLACEHOLDER + header[match.end(1) :])
        hashlib.file_digest(stream, lambda: running)
    return running.hexdigest().encode() == match[1]


def _refusal(file: Path) -> IntegrityError:
    """Says that the file is of an earlier format, or else that it is damaged."""
    try:
        version = read_note(file).get("format")
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
