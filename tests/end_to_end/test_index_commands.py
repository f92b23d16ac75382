"""`fgembed index ...` and searches with conditions or many queries, as a user types them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from fgembed.images.finding import find_images
from tests.conftest import Command
from tests.end_to_end.refusals import refused
from tests.index.making import KIND_SETTINGS, exact, make_index, open_index, unit_vectors


def test_an_index_is_built_changed_verified_and_searched(
    command: Command, gallery: Path, photos: Path
):
    label = sorted(path.name for path in Path("photos").iterdir())[0]
    assert command("index", "info", "--json").answer()["columns"] == {"label": "TEXT"}
    new = Path("photos", label, "new.jpg")
    shutil.copy(find_images(photos / "test")[0][0], new)
    added = command("index", "add", "photos", "--json").answer()
    assert (added["added"], added["unchanged"], added["state"]["segments"]) == (1, 24, 2)
    hits = command("search", new, "--where", f"label = '{label}'", "-k", 30, "--json").answer()
    assert len(hits) == 9
    assert {hit["metadata"]["label"] for hit in hits} == {label}
    new.unlink()
    synced = command("index", "add", "--sync", "photos")
    assert synced.out.splitlines()[0] == "1 removed, 24 unchanged"
    removed = command("index", "remove", "--where", f"label = '{label}'")
    assert removed.out.splitlines()[0] == "8 removed"
    refused(command("index", "remove", "--id", 5000), 1, "no item with id 5000")
    refused(command("index", "remove", "photos/nobody"), 1, "no image at or below")
    none = command("search", new.parent / "x.jpg", "--where", "0")
    assert none.code == 1
    empty = command("search", find_images(photos / "test")[0][0], "--where", "id < 0")
    assert (empty.code, empty.out) == (0, "no image of the index meets 'id < 0'\n")
    compacted = command("index", "compact", "--kind", "hnsw").out.splitlines()[0]
    assert compacted == "merged into one segment, 9 removed images dropped"
    verified = command("index", "verify")
    assert verified.code == 0
    assert "4 files unchanged, 16 vectors" in verified.out
    assert "8 images embedded again with the same vectors" in verified.out


def test_verify_of_a_damaged_index_is_exit_5(command: Command, gallery: Path):
    file = gallery / "seg-000001" / "vectors.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    refused(command("index", "verify"), 5, "vectors.npy differs from its checksum")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["index", "add"], 2, "--sync"),
        (["index", "add", "--sync", "nowhere"], 2, "no folder"),
        (["index", "add", "nowhere"], 1, "nowhere"),
        (["index", "remove"], 2, "--where"),
        (["index", "remove", "--id", "x"], 2, "'x' is no id"),
        (
            ["index", "remove", "--where", "colour = 1"],
            1,
            "; give a condition on the columns id, path",
        ),
        (["index", "compact", "--kind", "round"], 2, "'round'"),
        (["index", "compact", "--kind", "IVF4,Flatt"], 2, "IVF4,Flatt"),
        (["index", "compact", "--memory", "much"], 2, "no size"),
        (["index", "compact", "--store", "int8"], 2, "float16"),
        (["index", "export", "photos"], 1, "exists already"),
        (["index", "export", "a.index"], 2, "folder"),
        (["search"], 2, "no query"),
        (["search", "--queries", "photos"], 2, "--out"),
        (["search", "--queries", "photos", "--out", "hits.txt"], 1, ".jsonl nor .parquet"),
        (
            ["search", "--queries", "photos", "--out", "h.jsonl", "--where", "("],
            1,
            "cannot be evaluated",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    command: Command, gallery: Path, arguments: list[str], code: int, word: str
):
    before = (gallery / "manifest.json").read_text()
    done = command(*arguments)
    assert done.code == code
    assert word in done.err.splitlines()[-1]
    assert done.err.splitlines()[-1].startswith("error: ")
    assert (gallery / "manifest.json").read_text() == before


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_many_queries_get_the_hits_that_each_gets_alone(
    command: Command, gallery: Path, photos: Path, tmp_path: Path, form: str
):
    shutil.copytree(photos / "test", "queries")
    Path("queries/bad.jpg").write_bytes(b"no picture")
    told = command(
        "search", "--queries", "queries", "--out", f"h.{form}", "-k", 3, "--json"
    ).answer()
    assert (told["queries"], told["hits"], told["skipped"]) == (9, 27, 1)
    if form == "jsonl":
        rows = [json.loads(line) for line in Path("h.jsonl").read_text().splitlines()]
    else:
        rows = pyarrow.parquet.read_table("h.parquet").to_pylist()
    for query in find_images(tmp_path / "queries")[0][1:4]:
        alone = command("search", query, "-k", 3, "--json").answer()
        mine = [row for row in rows if row["query"] == str(query)]
        assert [row["id"] for row in mine] == [hit["id"] for hit in alone]
        assert [row["path"] for row in mine] == [hit["path"] for hit in alone]
        assert [row["score"] for row in mine] == pytest.approx(
            [hit["score"] for hit in alone], abs=1e-4
        )
        assert [row["label"] for row in mine] == [hit["metadata"]["label"] for hit in alone]


def test_vectors_are_looked_up_without_a_model(command: Command, tmp_path: Path):
    vectors, queries = unit_vectors(700), unit_vectors(5, seed=1)
    make_index(tmp_path / "i", vectors, KIND_SETTINGS["flat"])
    np.save("q.npy", queries * 3)
    assert command("search", "--queries", "q.npy", "--out", "h.jsonl", "--index", "i").code == 0
    rows = [json.loads(line) for line in Path("h.jsonl").read_text().splitlines()]
    expected = exact(queries, vectors, np.arange(700), 10)[1]
    assert [row["id"] for row in rows] == expected.ravel().tolist()
    assert rows[10]["query"] == "q.npy#1"


def test_copies_of_what_came_without_a_checksum_are_found(
    command: Command, gallery: Path, bundle: Path, photos: Path
):
    shutil.copytree(photos / "test", "more")
    some = find_images(Path("more"))[0][:2]
    shutil.copy(find_images(photos / "train")[0][5], some[0])
    assert command("embed", "more", "--bundle", bundle, "--out", "e").code == 0
    assert command("index", "add", "--from-embeddings", "e").code == 0
    (group,) = command("index", "duplicates", "--json").answer()
    assert [Path(path).name for path in group["paths"]][1] == some[0].name
    label = some[1].parent.name
    hit = command("search", some[1], "--where", f"label = '{label}'", "--json").answer()[0]
    assert hit["path"] == str(some[1].absolute())
    assert hit["metadata"] == {"label": label}


def test_an_emptied_structure_has_nothing_to_tune(command: Command, tmp_path: Path, small_lists):
    make_index(tmp_path / "i", unit_vectors(400), KIND_SETTINGS["hnsw"])
    assert command("index", "remove", "--where", "1", "--index", "i").code == 0
    np.save("q.npy", unit_vectors(5))
    for more in ((), ("--queries", "q.npy")):
        done = command("index", "tune", "--index", "i", *more)
        assert done.code == 0, done.err
        assert "nothing to tune" in done.out
    refused(command("index", "tune", "--index", "i", "--plot", "t.gif"), 1, "neither .png nor .svg")


def test_what_was_embedded_joins_an_index(
    command: Command, gallery: Path, bundle: Path, photos: Path
):
    assert command("embed", photos / "test", "--bundle", bundle, "--out", "e").code == 0
    added = command("index", "add", "--from-embeddings", "e", "--json").answer()
    assert (added["added"], added["state"]["count"]) == (9, 33)
    query = find_images(photos / "test")[0][4]
    hit = command("search", query, "-k", 1, "--json").answer()[0]
    assert (hit["path"], hit["id"]) == (str(query), 28)
    refused(command("index", "add", "photos", "--from-embeddings", "e"), 2, "2 sources of images")


def test_tuning_reaches_another_recall_and_draws_it(command: Command, tmp_path: Path):
    make_index(tmp_path / "i", unit_vectors(6000), KIND_SETTINGS["ivfpq"])
    before = open_index(tmp_path / "i").manifest
    done = command("index", "tune", "--index", "i", "--recall", 0.999, "--plot", "t.png", "--json")
    told = done.answer()
    after = open_index(tmp_path / "i").manifest
    assert (before.recall, after.recall) == (0.95, 0.999)
    assert after.main.files == before.main.files
    assert after.main.parameters == told["parameters"]
    assert after.main.measured.recall_at_10 > max(0.98, before.main.measured.recall_at_10)
    assert any(one["parameters"] == told["parameters"] for one in told["tried"])
    with Image.open("t.png") as picture:
        assert picture.width > 800
    np.save("q.npy", unit_vectors(60, seed=3))
    shown = command("index", "tune", "--index", "i", "--recall", 0.5, "--queries", "q.npy")
    assert shown.code == 0
    assert shown.out.count(" selected") == 1
    assert "30 held-out queries" in shown.out


def test_copies_are_listed_and_shown(command: Command, gallery: Path):
    first = find_images(Path("photos"))[0][0]
    shutil.copy(first, first.with_name("copy.jpg"))
    assert command("index", "add", "photos").code == 0
    done = command("index", "duplicates", "--html", "copies.html")
    assert "1 of 25 images are copies of others" in done.out
    assert Path("copies.html").read_text().count("<img") == 2
    (group,) = command("index", "duplicates", "--json").answer()
    assert (group["kind"], len(group["paths"])) == ("exact", 2)


def test_an_emptied_index_still_answers(command: Command, gallery: Path, photos: Path):
    query = find_images(photos / "test")[0][0]
    assert command("index", "remove", "--where", "1").code == 0
    assert command("search", query, "--rerank", "expansion").out == "the index is empty\n"
    for arguments in (["compact"], ["info"], ["tune"], ["verify"]):
        done = command("index", *arguments)
        assert done.code == 0, done.err
    refused(command("index", "export", "plain"), 1, "holds no images")
    refused(command("index", "export", "a.hdf5"), 1, "too few")
    assert command("index", "add", "photos", "--json").answer()["added"] == 24


def test_filters_that_leave_nobody_can_be_reranked(command: Command, gallery: Path, photos: Path):
    query = find_images(photos / "test")[0][0]
    for way in ("expansion", "reciprocal", "augmentation"):
        done = command("search", query, "--rerank", way, "--where", "id < 0", "--json")
        assert (done.code, done.out) == (0, "[]\n")


def test_a_store_that_was_asked_for_stays(command: Command, gallery: Path):
    for arguments in (["--store", "float16"], ["--memory", "4GB"]):
        assert command("index", "compact", *arguments).code == 0
        assert command("index", "info", "--json").answer()["store"] == "float16"


def test_nothing_is_made_where_there_is_no_index(command: Command):
    refused(command("index", "remove", "--id", 1, "--index", "nowhere"), 1, "no index at nowhere")
    refused(command("index", "compact", "--index", "nowhere"), 1, "no index at nowhere")
    assert not Path("nowhere").exists()
