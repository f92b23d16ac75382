"""What is no bundle is refused, with the command that writes one."""

import json
import shutil
from pathlib import Path

import pytest

from fgembed.bundle import Bundle, refuse_other_than_bundle
from fgembed.disk.files import sha256
from fgembed.errors import FgembedError, IntegrityError, NotFoundError
from tests.end_to_end.refusals import flipped


def test_a_missing_bundle_is_not_found_and_another_folder_is_no_bundle(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r'no bundle at .*; make one with "fgembed export --on'):
        Bundle.read(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(IntegrityError, match=r'has no config\.json; give a folder that "fgembed'):
        Bundle.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "bert"}, r"its model_type is not 'fgembed'; give a folder that"),
        ({"model_type": "fgembed", "format": 99}, r"reads 2; export it again with \"fgembed exp"),
        ({"model_type": "fgembed", "format": 1}, r"missing key .*; restore it from a copy, or mak"),
    ],
)
def test_a_foreign_description_says_what_to_do(
    tmp_path: Path, content: dict[str, object], message: str
):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match=message):
        Bundle.read(tmp_path)


def test_a_folder_with_a_readme_alone_is_not_taken_for_a_bundle(tmp_path: Path):
    (tmp_path / "README.md").write_text("")
    with pytest.raises(FgembedError, match=r"holds 'README\.md', which is no part of a bundle"):
        refuse_other_than_bundle(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "fgembed"}')
    refuse_other_than_bundle(tmp_path)


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "copied")
    return tmp_path / "copied"


def test_a_description_names_the_checksum_of_every_file_but_the_card(copied: Path):
    files = Bundle.read(copied).config.files
    on_disk = {p.relative_to(copied).as_posix() for p in copied.rglob("*") if p.is_file()}
    on_disk = {name for name in on_disk if not name.startswith(".cache/")}
    assert on_disk - files.keys() == {"config.json", "README.md"}
    assert files == {name: sha256(copied / name) for name in files}


@pytest.mark.parametrize(
    "name", ["parity.json", "preprocessor_config.json", "encoder.json", "model.safetensors"]
)
def test_a_damaged_file_is_refused_where_every_file_is_checked(copied: Path, name: str):
    flipped(copied / name)
    with pytest.raises(IntegrityError, match=rf"{name} differs from its checksum; restore it"):
        Bundle.open(copied, every_file=True)


def test_an_edited_description_is_refused(copied: Path):
    file = copied / "config.json"
    file.write_text(file.read_text().replace('"dimensions": 16', '"dimensions": 17'))
    with pytest.raises(IntegrityError, match=r"damaged or was edited: .* \"fgembed export --onnx"):
        Bundle.read(copied)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"file_sha256": "edited"}))
    with pytest.raises(IntegrityError, match="differs from its checksum"):
        Bundle.read(copied)


def test_the_model_card_may_be_edited_or_removed(copied: Path):
    card = copied / "README.md"
    card.write_text(card.read_text() + "My notes.\n")
    Bundle.open(copied, every_file=True)
    card.unlink()
    Bundle.open(copied, every_file=True)


def test_a_bundle_of_the_earlier_format_is_read_and_its_card_may_be_edited(copied: Path):
    current = Bundle.read(copied).config
    content = json.loads((copied / "config.json").read_text())
    del content["file_sha256"]
    content["files"]["README.md"] = sha256(copied / "README.md")
    (copied / "config.json").write_text(json.dumps(content | {"format": 1}, indent=2) + "\n")
    (copied / "README.md").write_text("Mine.\n")
    earlier = Bundle.open(copied, every_file=True).config
    assert earlier.fingerprint == current.fingerprint
    assert earlier.dimensions == current.dimensions
