"""Text files with their own checksum: every bit counts, an edit is accepted by a word."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from fgembed.disk.sealed_files import (
    is_edited_toml,
    read_sealed_json,
    read_sealed_toml,
    write_sealed_json,
    write_sealed_toml,
)
from fgembed.errors import ConfigError, FgembedError, IntegrityError, NotFoundError

CONTENT: dict[str, Any] = {"format": 4, "name": 'grün "quoted"', "sizes": [1, 2.5], "none": None}
SETTINGS = {"seed": 3, "images": "photos", "views": {"side": 0.5}, "eval": {}}


@pytest.fixture
def description(tmp_path: Path) -> Path:
    write_sealed_json(tmp_path / "description.json", CONTENT)
    return tmp_path / "description.json"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    write_sealed_toml(tmp_path / "config.toml", tomli_w.dumps(SETTINGS))
    return tmp_path / "config.toml"


def read(file: Path, editable: bool = False) -> dict[str, Any]:
    if file.suffix == ".toml":
        return read_sealed_toml(file, "file of settings")
    return read_sealed_json(file, "description", {4}, "fgembed export", editable=editable)


def flips(data: bytes) -> list[bytes]:
    """The data with each of its bits flipped in turn."""
    return [
        data[: bit // 8] + bytes([data[bit // 8] ^ (1 << bit % 8)]) + data[bit // 8 + 1 :]
        for bit in range(8 * len(data))
    ]


def test_the_content_comes_back_and_the_file_is_plain_json(description: Path):
    assert read(description) == CONTENT
    lines = description.read_text().splitlines()
    checksum = json.loads(description.read_text())["file_sha256"]
    assert lines[-2] == f'  "file_sha256": "{checksum}"'
    blank = description.read_text().replace(checksum, "0" * 64)
    assert checksum == hashlib.sha256(blank.encode()).hexdigest()


def test_settings_come_back_and_the_file_is_plain_toml(settings: Path):
    assert read(settings) == SETTINGS
    first, *_, last = settings.read_text().splitlines()
    assert first == "# Written by fgembed; the last line is a checksum of this file."
    blank = settings.read_text().replace(last[17:-1], "0" * 64)
    assert last[17:-1] == hashlib.sha256(blank.encode()).hexdigest()


@pytest.mark.parametrize("name", ["description", "settings"])
def test_every_flipped_bit_and_every_cut_is_refused(name: str, request: pytest.FixtureRequest):
    file: Path = request.getfixturevalue(name)
    sound = file.read_bytes()
    unseen = []
    for data in [*flips(sound), *(sound[:length] for length in range(len(sound)))]:
        file.write_bytes(data)
        try:
            read(file, editable=True)
        except FgembedError:
            continue
        unseen.append(data)
    assert unseen == []


@pytest.mark.parametrize("name", ["description", "settings"])
@pytest.mark.parametrize("added", [b"\n", b" ", b"\0", b"{}\n", b"# a comment\n"])
def test_what_is_appended_is_refused(name: str, added: bytes, request: pytest.FixtureRequest):
    file: Path = request.getfixturevalue(name)
    file.write_bytes(file.read_bytes() + added)
    with pytest.raises(IntegrityError):
        read(file)


def test_two_changed_bits_whose_values_look_right_are_refused(description: Path):
    description.write_text(description.read_text().replace("2.5", "3.5"))
    with pytest.raises(
        IntegrityError,
        match=r"description \S+ is damaged or was edited: it differs from its checksum; "
        r'restore it from a copy, or make it again with "fgembed export"$',
    ):
        read(description)


def test_another_layout_of_the_same_values_is_refused(description: Path):
    description.write_text(json.dumps(json.loads(description.read_text())))
    with pytest.raises(IntegrityError, match="differs from its checksum"):
        read(description)


def test_an_edit_is_accepted_by_a_word_where_that_makes_sense(description: Path):
    edited = json.loads(description.read_text()) | {"name": "red"}
    description.write_text(json.dumps(edited))
    with pytest.raises(IntegrityError, match=r'"edited" in place of the value of file_sha256$'):
        read(description, editable=True)
    description.write_text(json.dumps(edited | {"file_sha256": "edited"}))
    assert read(description, editable=True) == CONTENT | {"name": "red"}
    with pytest.raises(IntegrityError, match=r"checksum; restore .*\"fgembed export\"$"):
        read(description)


def test_edited_settings_are_accepted_by_a_word_in_their_last_line(settings: Path):
    text = settings.read_text().replace("seed = 3", "seed = 4")
    settings.write_text(text)
    with pytest.raises(IntegrityError, match=r'"edited" in place of the checksum in its last line'):
        read(settings)
    assert not is_edited_toml(settings)
    head = text[: text.rindex("#")]
    settings.write_text(f'{head}# file_sha256 = "edited"\n')
    assert read(settings) == SETTINGS | {"seed": 4}
    assert is_edited_toml(settings)
    settings.write_text('seed = \n# file_sha256 = "edited"\n')
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read(settings)


def test_earlier_files_without_a_checksum_are_read(tmp_path: Path):
    file = tmp_path / "description.json"
    for content in (CONTENT | {"format": 3}, {"name": "of no format"}):
        file.write_text(json.dumps(content, indent=2) + "\n")
        assert read(file) == content
    file = tmp_path / "config.toml"
    file.write_text(tomli_w.dumps(SETTINGS))
    assert read(file) == SETTINGS
    file.write_text("# my own settings\n" + tomli_w.dumps(SETTINGS))
    assert read(file) == SETTINGS


def test_a_lost_checksum_does_not_make_an_earlier_file(description: Path, settings: Path):
    description.write_text(json.dumps(CONTENT, indent=2))
    with pytest.raises(IntegrityError, match="differs from its checksum"):
        read(description)
    text = settings.read_text()
    for rest in (text[: text.rindex("\n#")], text.splitlines()[0], "#", "", "\n"):
        settings.write_text(rest)
        with pytest.raises(IntegrityError, match="differs from its checksum"):
            read(settings)


def test_missing_settings_are_named(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"file of settings \S+config.toml is missing; restore"):
        read(tmp_path / "config.toml")
