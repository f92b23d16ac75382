"""The manifest is checked as a whole; an edit needs a word, and earlier manifests are read."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fgembed.bundle import Bundle
from fgembed.disk.sealed_files import KEY
from fgembed.errors import IntegrityError
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from fgembed.index.format.manifest import INDEX_FORMAT, MANIFEST_FILE, Manifest
from fgembed.index.search.snapshot import open_vectors
from tests.conftest import Command
from tests.end_to_end.refusals import refused


@pytest.fixture
def copied(index: Path, tmp_path: Path) -> Path:
    shutil.copytree(index, tmp_path / "gallery.index")
    return tmp_path / "gallery.index"


def content_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / MANIFEST_FILE).read_text())
    return content


def test_each_flipped_bit_of_a_real_manifest_is_refused(copied: Path):
    file = copied / MANIFEST_FILE
    sound, expected = file.read_bytes(), Manifest.read(copied)
    for bit in range(0, 8 * len(sound), 5):  # each byte, and each bit of some byte
        changed = bytearray(sound)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(IntegrityError) as refusal:
            Manifest.read(copied)
        assert "\n" not in str(refusal.value)
    file.write_bytes(sound)
    assert Manifest.read(copied) == expected


def test_a_manifest_with_another_root_is_refused_until_its_user_accepts_it(
    copied: Path, command: Command, photos: Path
):
    """The case that was opened before: other paths in the results, and no error."""
    file = copied / MANIFEST_FILE
    root = str(photos / "train")
    file.write_text(file.read_text().replace(root, root.replace("train", "trbin")))
    query = next((photos / "test").rglob("*.jpg"))
    done = command("search", query, "--index", copied)
    refused(done, 5, "manifest.json is damaged or was edited", 'put the word "edited" in place')
    file.write_text(json.dumps(content_of(copied) | {KEY: "edited"}))
    vectors = open_vectors(copied)
    assert {path.parts[-3] for path in vectors.paths([0, 1]).values()} == {"trbin"}


def test_a_change_gives_an_edited_manifest_its_checksum_again(
    copied: Path, bundle: Path, photos: Path
):
    (copied / MANIFEST_FILE).write_text(
        json.dumps(content_of(copied) | {"recall": 0.5, KEY: "edited"})
    )
    assert Manifest.read(copied).recall == 0.5
    add_images(copied, photos / "test", Bundle.open(bundle))
    assert len(content_of(copied)[KEY]) == 64
    assert (Manifest.read(copied).recall, Manifest.read(copied).count) == (0.5, 33)


def test_a_manifest_of_the_earlier_format_is_read_and_its_next_one_has_a_checksum(
    copied: Path, bundle: Path, photos: Path
):
    current = Manifest.read(copied)
    content = content_of(copied)
    del content[KEY]
    (copied / MANIFEST_FILE).write_text(json.dumps(content | {"format": 3}, indent=2) + "\n")
    assert Manifest.read(copied) == current
    add_images(copied, photos / "test", Bundle.open(bundle))
    assert content_of(copied)["format"] == INDEX_FORMAT
    assert Manifest.read(copied).count == 33


def test_a_manifest_that_lost_its_checksum_is_refused(copied: Path):
    content = content_of(copied)
    del content[KEY]
    (copied / MANIFEST_FILE).write_text(json.dumps(content, indent=2) + "\n")
    with pytest.raises(IntegrityError, match="differs from its checksum"):
        Manifest.read(copied)


def test_the_manifest_of_another_index_is_refused(
    copied: Path, bundle: Path, photos: Path, tmp_path: Path
):
    build_index(photos / "test", Bundle.open(bundle), tmp_path / "other.index")
    shutil.copy(tmp_path / "other.index" / MANIFEST_FILE, copied / MANIFEST_FILE)
    with pytest.raises(IntegrityError, match=r"seg-000001/\S+ differs from its checksum"):
        open_vectors(copied)


@pytest.mark.parametrize("name", ["vectors.npy", "ids.npy", "items.sqlite"])
def test_files_of_two_segments_exchanged_are_refused(
    name: str, copied: Path, bundle: Path, photos: Path
):
    add_images(copied, photos / "test", Bundle.open(bundle))
    first, second = (copied / f"seg-00000{number}" / name for number in (1, 2))
    first.rename(copied.parent / "held")
    second.rename(first)
    (copied.parent / "held").rename(second)
    with pytest.raises(IntegrityError, match=rf"seg-000001/{name} differs from its checksum"):
        open_vectors(copied)
