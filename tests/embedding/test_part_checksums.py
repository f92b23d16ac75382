"""Parts of embeddings have checksums: damaged, swapped, missing and foreign files are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.disk.files import sha256
from fgembed.embedding.part_checksums import check_embeddings
from fgembed.embedding.shard_plan import Plan
from fgembed.embedding.shards import embed_into
from fgembed.errors import IntegrityError
from fgembed.images.sources import Listing, list_images
from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
from tests.end_to_end.refusals import flipped
from tests.index.making import unit_vectors, write_embeddings
from tests.sealing import edit, without_checksums


@pytest.fixture
def listing(photos: Path, tmp_path: Path) -> Listing:
    """Nine images, the fourth of which cannot be read."""
    images = list_images([photos / "test"]).images
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    return Listing([*images[:3], bad, *images[3:8]])


@pytest.fixture
def folder(bundle: Path, listing: Listing, tmp_path: Path) -> Path:
    """Three parts; the second has a skipped image."""
    embed_into(tmp_path / "out", listing, Bundle.open(bundle), part_size=3)
    return tmp_path / "out"


def test_a_part_names_its_number_its_plan_and_its_files(folder: Path):
    content = json.loads((folder / "checksums" / "part_0001.json").read_text())
    assert (content["format"], content["part"]) == (1, 1)
    assert content["plan"] == Plan.read(folder).digest()
    names = ["img_emb/img_emb_0001.npy", "metadata/metadata_0001.parquet",
             "skipped/skipped_0001.jsonl"]  # fmt: skip
    assert content["files"] == {name: sha256(folder / name) for name in names}
    assert "skipped/skipped_0000.jsonl" not in (folder / "checksums" / "part_0000.json").read_text()


@pytest.mark.parametrize(
    "name",
    ["embed.json", "img_emb/img_emb_0001.npy", "metadata/metadata_0002.parquet",
     "skipped/skipped_0001.jsonl", "checksums/part_0000.json"],
)  # fmt: skip
@pytest.mark.parametrize("damage", [flipped, lambda file: file.write_bytes(b""), Path.unlink])
def test_a_damaged_file_is_refused(folder: Path, name: str, damage: Callable[[Path], None]):
    assert ImportedEmbeddings.open(folder).count == 8
    damage(folder / name)
    with pytest.raises(IntegrityError):
        ImportedEmbeddings.open(folder)


@pytest.mark.parametrize(
    "pattern", ["img_emb/img_emb_000{}.npy", "metadata/metadata_000{}.parquet",
                "checksums/part_000{}.json"],
)  # fmt: skip
def test_files_of_two_parts_exchanged_are_refused(folder: Path, pattern: str):
    first, third = folder / pattern.format(0), folder / pattern.format(2)
    first.rename(folder / "held")
    third.rename(first)
    (folder / "held").rename(third)
    with pytest.raises(IntegrityError):
        ImportedEmbeddings.open(folder)


def test_a_whole_part_in_place_of_another_is_refused(folder: Path):
    for path in [*folder.rglob("*_0002.*")]:
        shutil.copy(path, path.with_name(path.name.replace("0002", "0000")))
    with pytest.raises(IntegrityError, match=r"part_0000\.json is not of part 0 of these embedd"):
        check_embeddings(folder)


def test_a_part_of_other_embeddings_is_refused(
    folder: Path, bundle: Path, listing: Listing, tmp_path: Path
):
    embed_into(tmp_path / "b", Listing(listing.images[::-1]), Bundle.open(bundle), part_size=3)
    for path in [*(tmp_path / "b").rglob("*_0001.*")]:
        shutil.copy(path, folder / path.relative_to(tmp_path / "b"))
    with pytest.raises(IntegrityError, match=r"part_0001\.json is not of part 1 of these embedd"):
        check_embeddings(folder)
    shutil.copy(tmp_path / "b" / "embed.json", folder / "embed.json")
    with pytest.raises(IntegrityError, match=r"part_0000\.json is not of part 0 of these embedd"):
        check_embeddings(folder)


def test_a_file_too_many_is_refused(folder: Path):
    shutil.copy(folder / "img_emb" / "img_emb_0000.npy", folder / "img_emb" / "img_emb_0003.npy")
    with pytest.raises(IntegrityError, match=r"img_emb_0003\.npy is no part of the embeddings in"):
        check_embeddings(folder)
    (folder / "img_emb" / "img_emb_0003.npy").unlink()
    shutil.copy(folder / "skipped" / "skipped_0001.jsonl", folder / "skipped/skipped_0000.jsonl")
    with pytest.raises(IntegrityError, match=r"skipped_0000\.jsonl differs from its checksum"):
        check_embeddings(folder)


def test_an_incomplete_part_is_named_with_the_command(folder: Path):
    (folder / "checksums" / "part_0001.json").unlink()
    with pytest.raises(IntegrityError, match=r'has 2 of its 3 parts; run "fgembed embed" again'):
        ImportedEmbeddings.open(folder)


def test_the_command_embeds_a_damaged_part_again(folder: Path, bundle: Path, listing: Listing):
    vectors = folder / "img_emb" / "img_emb_0001.npy"
    sound = np.load(vectors)
    np.save(vectors, sound[::-1])
    report = embed_into(folder, listing, Bundle.open(bundle), part_size=3)
    assert (report.parts_written, report.existing_parts) == (1, 2)
    np.testing.assert_array_equal(np.load(vectors), sound)
    check_embeddings(folder)


def test_embeddings_of_the_first_format_are_read_and_continued(
    folder: Path, bundle: Path, listing: Listing
):
    expected = [part.vectors() for part in ImportedEmbeddings.open(folder).parts()]
    without_checksums(folder)
    earlier = [part.vectors() for part in ImportedEmbeddings.open(folder).parts()]
    np.testing.assert_equal(earlier, expected)
    (folder / "metadata" / "metadata_0002.parquet").unlink()
    report = embed_into(folder, listing, Bundle.open(bundle), part_size=3)
    assert (report.parts_written, report.existing_parts) == (1, 2)
    assert not (folder / "checksums").exists()
    assert ImportedEmbeddings.open(folder).count == 8


def test_embeddings_of_other_tools_need_no_checksums(tmp_path: Path):
    vectors = unit_vectors(30)
    other = write_embeddings(tmp_path / "other", [vectors[:20], vectors[20:]])
    assert ImportedEmbeddings.open(other).count == 30


def test_checksums_without_a_plan_are_refused(folder: Path):
    (folder / "embed.json").unlink()
    with pytest.raises(IntegrityError, match=r"has checksums .*, and no embed\.json .*; restore"):
        ImportedEmbeddings.open(folder)


def test_a_plan_of_no_part_size_is_refused(folder: Path):
    edit(folder / "embed.json", part_size=0)
    with pytest.raises(IntegrityError, match="is damaged: parts of 0 images"):
        ImportedEmbeddings.open(folder)
