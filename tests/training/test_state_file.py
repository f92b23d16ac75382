"""The state on disk: every bit of it is covered by its checksum."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fgembed.errors import IntegrityError
from fgembed.model.reading.multi_level import MultiLevelPooling, Reading
from fgembed.model.tensor_files import write_tensors
from fgembed.training.resuming.checkpoint import read_position
from fgembed.training.resuming.state_file import (
    STATE_FORMAT,
    load_trained,
    read_state_file,
    read_state_note,
    write_state_file,
)
from fgembed.workspace import RunFolder
from tests.conftest import Command
from tests.end_to_end.refusals import refused

TENSORS = {
    "weights": torch.arange(6.0).reshape(2, 3).T,
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "flag": torch.tensor(True),
    "step": torch.tensor(7),
    "empty": torch.empty(0, 4),
}
NOTE = {"step": 7, "settings": {"name": 'a "quoted" name', "file_sha256": "f" * 64}}
REMEDY = "restore it from a copy, or remove .*state to train again from the start"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "state" / "checkpoint.safetensors"
    write_state_file(file, TENSORS, NOTE)
    return file


def flip(file: Path, content: bytes, bit: int) -> None:
    """Writes the content with one bit changed, in place: nothing else about the file changes."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    file.write_bytes(changed)


def test_tensors_and_note_come_back_as_they_were(file: Path):
    tensors, note = read_state_file(file)
    assert note == read_state_note(file) == NOTE
    assert {name: value.dtype for name, value in tensors.items()} == {
        name: value.dtype for name, value in TENSORS.items()
    }
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_the_file_is_plain_safetensors(file: Path):
    with safe_open(file, framework="pt") as stream:
        assert set(stream.keys()) == set(TENSORS)
        assert json.loads(stream.metadata()["note"]) == NOTE | {"format": STATE_FORMAT}


def test_a_flipped_bit_in_any_byte_is_detected(file: Path):
    content = file.read_bytes()
    missed = []
    for bit in range(0, 8 * len(content), 7):  # another bit of every byte in turn
        flip(file, content, bit)
        try:
            read_state_file(file)
        except IntegrityError as error:
            assert error.exit_code == 5
            assert str(file) in error.fact
            assert error.remedy
        else:
            missed.append(bit)
    assert missed == []
    file.write_bytes(content)
    assert read_state_note(file) == NOTE


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:5],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: bytes(len(content)),
        lambda content: content[:-4] + content[-2:] + content[-4:-2],
    ],
    ids=["empty", "short", "cut", "longer", "endless header", "zeros", "swapped"],
)
def test_a_damaged_file_is_refused_with_a_remedy(file: Path, damage: object):
    assert callable(damage)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(IntegrityError, match=f"is damaged: it differs from its checksum; {REMEDY}"):
        read_state_note(file)


def test_a_file_without_a_checksum_is_refused(file: Path):
    save_file(TENSORS | {"weights": torch.ones(2)}, file)
    with pytest.raises(IntegrityError, match="is damaged"):
        read_state_file(file)


def test_a_later_format_is_refused_as_such(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fgembed.training.resuming.state_file.STATE_FORMAT", STATE_FORMAT + 1)
    write_state_file(file, TENSORS, NOTE)
    monkeypatch.undo()
    with pytest.raises(
        IntegrityError, match=f"of format {STATE_FORMAT + 1}, .* reads {STATE_FORMAT};"
    ):
        read_state_file(file)


def test_an_earlier_format_is_refused_as_such(file: Path):
    write_tensors(file, {"random.cpu": torch.zeros(2)}, {"step": 3, "format": 2})
    words = f"is of format 2, this fgembed reads {STATE_FORMAT}; start a new run"
    with pytest.raises(IntegrityError, match=words):
        read_state_note(file)


def test_flipped_bits_anywhere_in_a_real_checkpoint_are_detected(run: Path, tmp_path: Path):
    """In the header's length, over the header, the tensors, and their ends; at random."""
    copied = RunFolder(tmp_path)
    copied.state.mkdir()
    content = (run / "state" / "checkpoint.safetensors").read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    draw = random.Random(0)
    bits = {*range(64), 8 * header, 8 * len(content) - 1}
    bits |= {draw.randrange(64, 8 * header) for _ in range(60)}
    bits |= {draw.randrange(8 * header, 8 * len(content)) for _ in range(60)}
    for bit in sorted(bits):
        flip(copied.checkpoint, content, bit)
        with pytest.raises(IntegrityError):
            read_position(copied)
    copied.checkpoint.write_bytes(content)
    position = read_position(copied)
    assert position is not None
    assert position.step == 3


def test_the_command_refuses_a_damaged_checkpoint_and_changes_nothing(
    command: Command, run: Path, tmp_path: Path
):
    shutil.copytree(run, tmp_path / "runs" / "tiny")
    copied = RunFolder(tmp_path / "runs" / "tiny")
    content = copied.checkpoint.read_bytes()
    flip(copied.checkpoint, content, 4 * len(content))
    before = {path: path.stat().st_mtime_ns for path in copied.path.rglob("*")}
    outcome = command("train", "--resume", "--run", "tiny")
    refused(
        outcome, 5, "checkpoint.safetensors is damaged", "remove runs/tiny/state to train again"
    )
    assert {path: path.stat().st_mtime_ns for path in copied.path.rglob("*")} == before


def test_the_centre_of_another_reading_is_left_as_it_is_and_the_rest_is_loaded():
    def model(reading: Reading) -> torch.nn.ModuleDict:
        levels = MultiLevelPooling([1], 2, reading)
        return torch.nn.ModuleDict({"levels": levels, "head": torch.nn.Linear(2, 2)})

    trained, resumed = model(Reading(mean_beside=True)), model(Reading())
    load_trained(resumed, trained.state_dict())
    torch.testing.assert_close(resumed["head"].weight, trained["head"].weight)
    assert resumed["levels"].centre.shape == (4,)
    with pytest.raises(RuntimeError):
        load_trained(resumed, {})
