"""Embeddings in parts: equal to single inference, resumed, shared out, never of two models."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.embedding.shard_plan import Plan, agree
from fgembed.embedding.shards import embed_into
from fgembed.errors import FgembedError, IntegrityError
from fgembed.images.preprocessing import read_image
from fgembed.images.sources import Listing, list_images
from tests.conftest import Command
from tests.sealing import without_checksums, write_with_checksum

RUN = "from fgembed.cli.main import run; run()"


@pytest.fixture
def listing(photos: Path) -> Listing:
    return list_images([photos / "train"])


def read(folder: Path) -> tuple[np.ndarray, dict[str, list[object]]]:
    """All parts in the order of their names, as other tools read them."""
    vectors = [np.load(file) for file in sorted((folder / "img_emb").glob("*.npy"))]
    tables = [
        pyarrow.parquet.read_table(f) for f in sorted((folder / "metadata").glob("*.parquet"))
    ]
    columns: dict[str, list[object]] = pyarrow.concat_tables(tables).to_pydict()
    return np.concatenate(vectors), columns


def vectors_one_by_one(bundle: Bundle, listing: Listing) -> np.ndarray:
    embedder = OnnxEmbedder(bundle.model, bundle.preprocessing, "cpu")
    pixels = [read_image(Path(str(path)), bundle.preprocessing) for path in listing.images]
    return np.concatenate([embedder.vectors(image[None]) for image in pixels])


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


def test_other_images_part_sizes_and_models_are_refused(bundle, listing, tmp_path):
    opened, out = Bundle.open(bundle), tmp_path / "out"
    embed_into(out, listing, opened, part_size=12)
    fewer = Listing(listing.images[:-1])
    with pytest.raises(FgembedError, match="embeddings of 24 images, these 23 are not the same"):
        embed_into(out, fewer, opened, part_size=12)
    with pytest.raises(FgembedError, match=r"parts of 12 images, not 5; give --part-size 12"):
        embed_into(out, listing, opened, part_size=5)
    again = opened.config.files | {MODEL_FILES["fp32"]: "of another export"}
    with pytest.raises(IntegrityError, match="embeddings of another export of this model"):
        embed_into(out, listing, replace(opened, config=replace(opened.config, files=again)))
    other = replace(opened, config=replace(opened.config, preprocessing={}))
    with pytest.raises(IntegrityError, match="embeddings of another model"):
        embed_into(out, listing, other, part_size=12)
    with pytest.raises(IntegrityError, match="embeddings of an fp32 model, this is int8"):
        files = opened.config.files | {MODEL_FILES["int8"]: "of int8"}
        config = replace(opened.config, files=files)
        embed_into(out, listing, replace(opened, config=config, precision="int8"), part_size=12)
    (out / "embed.json").write_text('{"model_type": "fgembed-embeddings", "format": 1}')
    with pytest.raises(IntegrityError, match="of format 1"):
        embed_into(out, listing, opened, part_size=12)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(FgembedError, match=r"holds 'thesis.tex'"):
        embed_into(tmp_path / "mine", listing, opened)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, r"of format 1, this fgembed writes 3; embed into another folder"),
        ({"part_size": "many"}, r"damaged: 'part_size' is 'many', expected int; restore it from"),
        ({"extra": 1}, r"damaged: unknown key 'extra'; restore it from a copy"),
    ],
)
def test_a_damaged_or_older_plan_is_refused_with_the_remedy(
    bundle, listing, tmp_path, change, message
):
    opened, out = Bundle.open(bundle), tmp_path / "out"
    agree(out, Plan.of(listing, opened, 12))
    content = json.loads((out / "embed.json").read_text())
    assert (content["model_type"], content["pictures"]) == ("fgembed-embeddings", 24)
    write_with_checksum(out / "embed.json", content | change)
    with pytest.raises(IntegrityError, match=message):
        embed_into(out, listing, opened, part_size=12)


def test_the_command_embeds_a_list_from_standard_input(
    command: Command, bundle: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = sorted(str(path) for path in (photos / "test").rglob("*.jpg"))
    monkeypatch.setattr(sys, "stdin", [f"{path}\n" for path in paths])
    done = command("embed", "-", "--bundle", bundle, "--json", "--part-size", 4)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == {
        "out": "embeddings", "dimensions": 16, "parts": 3, "written": 3, "found": 0,
        "embedded": 9, "skipped": 0, "passed_over": 0,
    }  # fmt: skip
    assert read(Path("embeddings"))[1]["image_path"] == paths


@pytest.mark.parametrize("share", ["0/2", "3/2", "1", "a/b", "1/0", "²/3"])
def test_a_malformed_share_is_refused(command: Command, share: str, photos: Path):
    done = command("embed", photos, "--shard", share)
    assert done.code == 2
    assert "is not I/N with I from 1 to N" in done.err


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_without_gaps_or_duplicates(bundle, photos, tmp_path):
    """Ten kills while 5,000 images are embedded; then the bytes of an uninterrupted run."""
    images = list_images([photos]).images
    listing = Listing([images[number % len(images)] for number in range(5000)])
    embed_into(tmp_path / "uninterrupted", listing, Bundle.open(bundle), part_size=100)
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in listing.images))
    arguments = ["embed", tmp_path / "list.txt", "--bundle", bundle, "--part-size", "100"]
    command = [sys.executable, "-c", RUN, *arguments, "--out", tmp_path / "killed"]
    random = np.random.default_rng(0)
    for written in np.sort(random.choice(45, 10, replace=False)):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while parts(tmp_path / "killed") < written and process.poll() is None:
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.2))  # anywhere in the part that is being written
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    for expected, resumed in zip(
        read(tmp_path / "uninterrupted"), read(tmp_path / "killed"), strict=True
    ):
        np.testing.assert_equal(resumed, expected)
    leftovers = [path.name for path in (tmp_path / "killed").rglob("*") if ".tmp-" in path.name]
    assert leftovers == []


def parts(folder: Path) -> int:
    return len(list(folder.glob("metadata/*.parquet")))
