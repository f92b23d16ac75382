"""Tensors on disk: safetensors files, written atomically, with a JSON note and a checksum."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from fgembed.disk.files import atomic_write
from fgembed.errors import IntegrityError

RESTORE = "restore it from a copy, or train again"


def write_tensors(
    file: Path, tensors: dict[str, Tensor], note: dict[str, Any] | None = None
) -> None:
    """Writes one safetensors file atomically, with a JSON note and a checksum in its header."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"note": json.dumps(note or {}), "sha256": _checksum(plain)}
    with atomic_write(file) as stream:
        stream.write(save(plain, header))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        IntegrityError: the file is damaged.
    """
    try:
        with safe_open(file, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
            expected = (stream.metadata() or {}).get("sha256")
    except Exception as error:
        # safetensors raises its own class, OSError or ValueError, by the kind of damage.
        raise IntegrityError(f"{file} is damaged: {error}", RESTORE) from None
    if expected is not None and expected != _checksum(tensors):
        raise IntegrityError(f"{file} is damaged: it differs from its checksum", RESTORE)
    return tensors


def read_note(file: Path) -> dict[str, Any]:
    """The JSON note in a file of `write_tensors`; empty if it has none."""
    with safe_open(file, framework="pt") as stream:
        note: dict[str, Any] = json.loads((stream.metadata() or {}).get("note", "{}"))
    return note


def _checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
