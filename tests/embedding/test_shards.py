"""Embeddings in parts: equal to single inference, shared out, made again where they are lost."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.embedding.shards import embed_into
from fgembed.images.sources import Listing, list_images
from tests.embedding.embedded_parts import read, vectors_one_by_one
from tests.sealing import without_checksums


def test_parts_hold_every_vector_beside_its_id_and_path(bundle, listing, tmp_path):
    opened = Bundle.open(bundle)
    done = embed_into(tmp_path / "out", listing, opened, part_size=7)
    vectors, columns = read(tmp_path / "out")
    assert (done.parts_written, done.existing_parts, done.images) == (4, 0, 24)
    assert columns["id"] == list(range(24))
    assert columns["image_path"] == [str(path) for path in listing.images]
    np.testing.assert_allclose(vectors, vectors_one_by_one(opened, listing), atol=1e-5)
    assert vectors.dtype == np.float32


def test_a_second_call_embeds_nothing_and_lost_parts_are_embedded_again(bundle, listing, tmp_path):
    opened, out = Bundle.open(bundle), tmp_path / "out"
    embed_into(out, listing, opened, part_size=7)
    before, _ = read(out)
    again = embed_into(out, listing, opened, part_size=7)
    assert (again.parts_written, again.existing_parts, again.images) == (0, 4, 0)
    (out / "metadata" / "metadata_0002.parquet").write_bytes(b"PAR1 cut short")
    (out / "img_emb" / "img_emb_0000.npy").unlink()
    assert embed_into(out, listing, opened, part_size=7).parts_written == 2
    np.testing.assert_array_equal(read(out)[0], before)


def test_a_part_of_an_image_that_was_replaced_is_embedded_again(bundle, photos, tmp_path):
    shutil.copytree(photos / "train", tmp_path / "photos")
    listing, out = list_images([tmp_path / "photos"]), tmp_path / "out"
    opened = Bundle.open(bundle)
    embed_into(out, listing, opened, part_size=7)
    replaced = Path(str(listing.images[9]))
    before = replaced.stat()
    Image.open(replaced).transpose(Image.Transpose.ROTATE_180).save(replaced, quality=30)
    replaced.write_bytes(replaced.read_bytes().ljust(before.st_size, b"\0"))
    assert replaced.stat().st_size == before.st_size
    os.utime(replaced, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = embed_into(out, listing, opened, part_size=7)
    assert (again.parts_written, again.existing_parts) == (1, 3)
    np.testing.assert_allclose(read(out)[0], vectors_one_by_one(opened, listing), atol=1e-5)
    assert embed_into(out, listing, opened, part_size=7).parts_written == 0


def test_a_part_of_an_earlier_release_without_the_state_of_its_files_is_complete(
    bundle, listing, tmp_path
):
    opened, out = Bundle.open(bundle), tmp_path / "out"
    embed_into(out, listing, opened, part_size=7)
    without_checksums(out)
    for file in (out / "metadata").glob("*.parquet"):
        table = pyarrow.parquet.read_table(file).replace_schema_metadata(None)
        pyarrow.parquet.write_table(table, file)
    assert embed_into(out, listing, opened, part_size=7).existing_parts == 4


def test_shares_give_together_what_a_single_process_gives(bundle, listing, tmp_path):
    opened = Bundle.open(bundle)
    embed_into(tmp_path / "single", listing, opened, part_size=5)
    for number in (3, 1, 2):
        embed_into(tmp_path / "shared", listing, opened, part_size=5, share=(number, 3))
    for single, shared in zip(read(tmp_path / "single"), read(tmp_path / "shared"), strict=True):
        np.testing.assert_equal(shared, single)


def test_an_unreadable_image_leaves_a_gap_in_the_ids_and_is_listed(bundle, photos, tmp_path):
    copied = tmp_path / "photos"
    shutil.copytree(photos / "train", copied)
    listing = list_images([copied])
    Path(str(listing.images[3])).write_bytes(b"no image")
    done = embed_into(tmp_path / "out", listing, Bundle.open(bundle), part_size=10)
    _, columns = read(tmp_path / "out")
    assert columns["id"] == [0, 1, 2, *range(4, 24)]
    assert [bad.path for bad in done.skipped] == [listing.images[3]]
    (line,) = (tmp_path / "out" / "skipped" / "skipped_0000.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == str(listing.images[3])


def test_a_part_of_unreadable_images_alone_is_empty(bundle, listing, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    listing = Listing([*listing.images[:2], bad, bad])
    embed_into(tmp_path / "out", listing, Bundle.open(bundle), part_size=2)
    vectors, columns = read(tmp_path / "out")
    assert (vectors.shape[0], columns["id"]) == (2, [0, 1])
    assert (
        embed_into(tmp_path / "out", listing, Bundle.open(bundle), part_size=2).existing_parts == 2
    )


def test_unreadable_images_are_remembered_until_they_are_repaired(bundle, photos, tmp_path):
    shutil.copytree(photos / "train", tmp_path / "photos")
    listing, out = list_images([tmp_path / "photos"]), tmp_path / "out"
    contents = [Path(str(path)).read_bytes() for path in listing.images[:3]]
    for path in listing.images[:3]:
        Path(str(path)).write_bytes(b"no image")
    first = embed_into(out, listing, Bundle.open(bundle), part_size=10)
    second = embed_into(out, listing, Bundle.open(bundle), part_size=10)
    assert (second.parts_written, second.share, second.skipped) == (0, 24, first.skipped)
    for path, content in zip(listing.images[:3], contents, strict=True):
        Path(str(path)).write_bytes(content)
    (out / "metadata" / "metadata_0000.parquet").unlink()
    third = embed_into(out, listing, Bundle.open(bundle), part_size=10)
    assert (third.parts_written, third.images, third.skipped) == (1, 10, [])
    assert list((out / "skipped").iterdir()) == []


def test_columns_of_a_manifest_stay_with_their_rows(bundle, listing, tmp_path):
    labels = [f"label {number}" for number in range(24)]
    mine = [f"mine {number}" for number in range(24)]
    manifest = replace(listing, columns={"label": labels, "given_id": mine, "id": labels})
    embed_into(tmp_path / "out", manifest, Bundle.open(bundle), part_size=9)
    _, columns = read(tmp_path / "out")
    assert sorted(columns) == ["given_given_id", "given_id", "id", "image_path", "label"]
    assert {str(columns["given_id"]), str(columns["given_given_id"])} == {str(labels), str(mine)}
    assert (columns["label"], columns["id"]) == (labels, list(range(24)))
