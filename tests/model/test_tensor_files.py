"""Tensor files: tensors and note are covered by one checksum, and earlier files are read."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fgembed.errors import IntegrityError
from fgembed.model.tensor_files import read_note, read_tensors, write_tensors

TENSORS = {"1.mean": torch.arange(3.0), "1.projection": torch.ones(3, 2)}
NOTE = {"start": "a" * 64}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tensors(tmp_path / "whitenings.safetensors", TENSORS, NOTE)
    return tmp_path / "whitenings.safetensors"


def write_earlier(file: Path, checksum: str | None) -> None:
    """As fgembed wrote tensors before: a checksum of the names and values alone."""
    metadata = {"note": json.dumps(NOTE)} | ({"sha256": checksum} if checksum else {})
    save_file(TENSORS, file, metadata)


def earlier_checksum() -> str:
    digest = hashlib.sha256()
    for name, value in sorted(TENSORS.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def test_tensors_and_note_come_back(file: Path):
    assert read_note(file) == NOTE
    tensors = read_tensors(file)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_each_flipped_bit_of_header_note_and_tensors_is_refused(file: Path):
    sound = file.read_bytes()
    for bit in range(8 * len(sound)):
        changed = bytearray(sound)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        for read in (read_tensors, read_note):
            with pytest.raises(IntegrityError):
                read(file)


def test_a_shape_of_the_same_size_is_refused(file: Path):
    """The values are the same bytes in the same order, so a checksum of these says nothing."""
    content = file.read_bytes()
    assert content.count(b'"shape":[3,2]') == 1
    file.write_bytes(content.replace(b'"shape":[3,2]', b'"shape":[2,3]'))
    with pytest.raises(IntegrityError, match="differs from its checksum; restore it"):
        read_tensors(file)


def test_earlier_files_are_read_and_their_values_checked(tmp_path: Path):
    file = tmp_path / "whitenings.safetensors"
    write_earlier(file, earlier_checksum())
    assert read_note(file) == NOTE
    assert read_tensors(file)["1.mean"].tolist() == [0.0, 1.0, 2.0]
    write_earlier(file, "0" * 64)
    for read in (read_tensors, read_note):
        with pytest.raises(IntegrityError, match="differs from its checksum"):
            read(file)


def test_a_file_without_any_checksum_is_refused(tmp_path: Path):
    write_earlier(tmp_path / "plain.safetensors", None)
    with pytest.raises(IntegrityError, match="differs from its checksum"):
        read_tensors(tmp_path / "plain.safetensors")


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(IntegrityError, match=r"none\.safetensors is damaged"):
        read_note(tmp_path / "none.safetensors")
