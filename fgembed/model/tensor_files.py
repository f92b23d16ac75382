"""Tensors on disk: safetensors files with a JSON note, in which one SHA-256 covers every byte.

The checksum stands in the header of the file that it covers, so that both are replaced in one
step. It is the SHA-256 of the file with zeros in the checksum's own place.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from fgembed.disk.files import atomic_write
from fgembed.errors import IntegrityError

RESTORE = "restore it from a copy, or train again"
CHECKSUM_KEY = "file_sha256"
EARLIER_KEY = "sha256"  # of names and values alone, in files of the first formats
PLACEHOLDER = b"0" * 64
CHECKSUM = re.compile(rb'"file_sha256":"([0-9a-f]{64})"')


def write_tensors(
    file: Path, tensors: dict[str, Tensor], note: dict[str, Any] | None = None
) -> None:
    """Writes one safetensors file atomically.

    Args:
        file: where to.
        tensors: by name, on any device.
        note: a JSON object that is stored beside them.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"note": json.dumps(note or {}), CHECKSUM_KEY: PLACEHOLDER.decode()}
    content = memoryview(save(plain, header))
    match = CHECKSUM.search(content)
    assert match is not None  # invariant
    with atomic_write(file) as stream:
        stream.write(content[: match.start(1)])
        stream.write(hashlib.sha256(content).hexdigest().encode())
        stream.write(content[match.end(1) :])


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file of `write_tensors`.

    Raises:
        IntegrityError: the file is missing, damaged, or has no checksum.
    """
    is_whole = equals_checksum(file)
    try:
        with safe_open(file, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}
            metadata = stream.metadata() or {}
    except Exception as error:
        # safetensors raises its own class, OSError or ValueError, by the kind of damage.
        raise IntegrityError(f"{file} is damaged: {error}", RESTORE) from None
    if not is_whole and metadata.get(EARLIER_KEY) != _earlier_checksum(tensors):
        raise IntegrityError(f"{file} is damaged: it differs from its checksum", RESTORE)
    return tensors


def read_note(file: Path) -> dict[str, Any]:
    """The JSON note in a file of `write_tensors`; the complete file is checked.

    Raises:
        IntegrityError: the file is missing, damaged, or has no checksum.
    """
    if not equals_checksum(file):
        read_tensors(file)  # of the first formats, or refused
    return unchecked_note(file)


def unchecked_note(file: Path) -> dict[str, Any]:
    """The JSON note in a safetensors file that may be damaged; empty if it has none."""
    with safe_open(file, framework="pt") as stream:
        note: dict[str, Any] = json.loads((stream.metadata() or {}).get("note", "{}"))
    return note


def equals_checksum(file: Path) -> bool:
    """Whether the file has a checksum of all of its bytes and equals it."""
    if not file.is_file():
        return False
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


def _earlier_checksum(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names and values."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
