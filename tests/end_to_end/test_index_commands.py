"""`fgembed index ...` and searches with conditions or many queries, as a user types them."""

import json
import shutil
from pathlib import Path

import faiss
import h5py
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from fgembed.images import find_images
from tests.conftest import Command
from tests.end_to_end.refusals import refused
from tests.index.making import WISHES, exact, make_index, open_index, unit_vectors


@pytest.fixture
def gallery(command: Command, bundle: Path, photos: Path, tmp_path: Path) -> Path:
    """An index of a copy of the training pictures, in the current folder."""
    shutil.copytree(photos / "train", tmp_path / "photos")
    done = command("index", "build", "photos", "--bundle", bundle)
    assert done.code == 0, done.err
    return tmp_path / "gallery.index"


def out(done, code: int = 0):
    assert done.code == code, done.err
    return json.loads(done.out)


def test_an_index_is_built_changed_verified_and_searched(
    command: Command, gallery: Path, photos: Path
):
    label = sorted(path.name for path in Path("photos").iterdir())[0]
    assert out(command("index", "info", "--json"))["columns"] == {"label": "TEXT"}
    new = Path("photos", label, "new.jpg")
    shutil.copy(find_images(photos / "test")[0][0], new)
    added = out(command("index", "add", "photos", "--json"))
    assert (added["added"], added["unchanged"], added["state"]["segments"]) == (1, 24, 2)
    hits = out(command("search", new, "--where", f"label = '{label}'", "-k", 30, "--json"))
    assert len(hits) == 9
    assert {hit["metadata"]["label"] for hit in hits} == {label}
    new.unlink()
    synced = command("index", "add", "--sync", "photos")
    assert synced.out.splitlines()[0] == "1 removed, 24 unchanged"
    removed = command("index", "remove", "--where", f"label = '{label}'")
    assert removed.out.splitlines()[0] == "8 removed"
    refused(command("index", "remove", "--id", 5000), 1, "no picture with id 5000")
    refused(command("index", "remove", "photos/nobody"), 1, "no picture at or below")
    none = command("search", new.parent / "x.jpg", "--where", "0")
    assert none.code == 1
    empty = command("search", find_images(photos / "test")[0][0], "--where", "id < 0")
    assert (empty.code, empty.out) == (0, "no picture of the index meets 'id < 0'\n")
    assert command("index", "compact", "--kind", "hnsw").out.startswith("9 removed\n")
    verified = command("index", "verify")
    assert verified.code == 0
    assert "4 files as they were written, 16 vectors" in verified.out
    assert "8 pictures embedded again alike" in verified.out


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
        (["index", "remove", "--where", "colour = 1"], 1, "the columns are id"),
        (["index", "compact", "--kind", "round"], 2, "'round'"),
        (["index", "compact", "--kind", "IVF4,Flatt"], 2, "IVF4,Flatt"),
        (["index", "compact", "--memory", "much"], 2, "no size"),
        (["index", "compact", "--store", "int8"], 2, "float16"),
        (["index", "export", "photos"], 1, "there already"),
        (["index", "export", "a.index"], 2, "folder"),
        (["search"], 2, "missing argument 'query'"),
        (["search", "--queries", "photos"], 2, "--out"),
        (["search", "--queries", "photos", "--out", "hits.txt"], 1, ".jsonl nor .parquet"),
        (
            ["search", "--queries", "photos", "--out", "h.jsonl", "--where", "("],
            1,
            "cannot be asked",
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
    told = out(command("search", "--queries", "queries", "--out", f"h.{form}", "-k", 3, "--json"))
    assert (told["queries"], told["hits"], told["skipped"]) == (9, 27, 1)
    if form == "jsonl":
        rows = [json.loads(line) for line in Path("h.jsonl").read_text().splitlines()]
    else:
        rows = pyarrow.parquet.read_table("h.parquet").to_pylist()
    for query in find_images(tmp_path / "queries")[0][1:4]:
        alone = out(command("search", query, "-k", 3, "--json"))
        mine = [row for row in rows if row["query"] == str(query)]
        assert [row["id"] for row in mine] == [hit["id"] for hit in alone]
        assert [row["path"] for row in mine] == [hit["path"] for hit in alone]
        assert [row["score"] for row in mine] == pytest.approx(
            [hit["score"] for hit in alone], abs=1e-4
        )
        assert [row["label"] for row in mine] == [hit["metadata"]["label"] for hit in alone]


def test_vectors_are_looked_up_without_a_model(command: Command, tmp_path: Path):
    vectors, queries = unit_vectors(700), unit_vectors(5, seed=1)
    make_index(tmp_path / "i", vectors, WISHES["flat"])
    np.save("q.npy", queries * 3)
    assert command("search", "--queries", "q.npy", "--out", "h.jsonl", "--index", "i").code == 0
    rows = [json.loads(line) for line in Path("h.jsonl").read_text().splitlines()]
    expected = exact(queries, vectors, np.arange(700), 10)[1]
    assert [row["id"] for row in rows] == expected.ravel().tolist()
    assert rows[10]["query"] == "q.npy#1"


def test_tuning_reaches_another_recall_and_draws_it(command: Command, tmp_path: Path):
    make_index(tmp_path / "i", unit_vectors(6000), WISHES["ivfpq"])
    before = open_index(tmp_path / "i").manifest
    done = command("index", "tune", "--index", "i", "--recall", 0.999, "--plot", "t.png", "--json")
    told = out(done)
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
    assert shown.out.count(" taken") == 1
    assert "30 queries that were held out" in shown.out


def test_copies_are_listed_and_shown(command: Command, gallery: Path):
    first = find_images(Path("photos"))[0][0]
    shutil.copy(first, first.with_name("copy.jpg"))
    assert command("index", "add", "photos").code == 0
    done = command("index", "duplicates", "--html", "copies.html")
    assert "1 of 25 pictures are copies of others" in done.out
    assert Path("copies.html").read_text().count("<img") == 2
    (group,) = out(command("index", "duplicates", "--json"))
    assert (group["kind"], len(group["paths"])) == ("exact", 2)


@pytest.mark.parametrize("kind", ["flat", "ivfpq", "hnsw", "ivf"])
def test_plain_faiss_reads_what_is_exported(command: Command, kind: str, tmp_path: Path):
    vectors, queries = unit_vectors(900), unit_vectors(20, seed=1)
    make_index(tmp_path / "i", vectors, WISHES[kind])
    assert command("index", "export", "plain", "--index", "i").code == 0
    index = faiss.read_index("plain/knn.index")
    table = pyarrow.parquet.read_table("plain/metadata/metadata_0000.parquet").to_pydict()
    rows = np.load("plain/img_emb/img_emb_0000.npy")
    ids = np.array(table["id"])
    np.testing.assert_allclose(rows, vectors[ids], atol=1e-6)
    assert table["image_path"][5] == f"/pictures/{ids[5]}.jpg"
    assert table["label"][5] == f"label {ids[5] % 3}"
    inverted = faiss.try_extract_index_ivf(index) if kind in ("ivf", "ivfpq") else None
    if inverted is not None:
        inverted.nprobe = inverted.nlist
    if kind == "hnsw":
        index.hnsw.efSearch = 900
    if kind == "ivfpq":
        index.k_factor = 90
    scores, positions = index.search(queries, 10)
    expected = exact(queries, vectors, np.arange(900), 10)
    np.testing.assert_allclose(scores, expected[0], atol=1e-5)
    assert (ids[positions] == expected[1]).mean() > 0.99
    infos = json.loads(Path("plain/index_infos.json").read_text())
    if infos["index_param"]:
        faiss.ParameterSpace().set_index_parameters(index, infos["index_param"])
    refused(command("index", "export", "plain", "--index", "i"), 1, "there already")
    assert command("index", "export", "plain", "--index", "i", "--overwrite").code == 0


def test_a_data_set_for_ann_benchmarks_has_exact_neighbours(command: Command, tmp_path: Path):
    vectors = unit_vectors(500)
    make_index(tmp_path / "i", vectors, WISHES["ivf"])
    told = out(command("index", "export", "g.hdf5", "--index", "i", "--queries", 40, "--json"))
    assert told["queries"] == 40
    with h5py.File("g.hdf5") as file:
        train, test = file["train"][:], file["test"][:]
        assert file.attrs["distance"] == "angular"
        scores, places = exact(test, train, np.arange(460), 100)
        np.testing.assert_allclose(file["distances"][:], 1 - scores, atol=1e-5)
        assert (file["neighbors"][:] == places).mean() > 0.99
    everything = np.concatenate([train, test])
    assert sorted(map(bytes, everything)) == sorted(map(bytes, vectors))


def test_an_emptied_index_still_answers(command: Command, gallery: Path, photos: Path):
    query = find_images(photos / "test")[0][0]
    assert command("index", "remove", "--where", "1").code == 0
    assert command("search", query, "--rerank", "expansion").out == "the index is empty\n"
    for arguments in (["compact"], ["info"], ["tune"], ["verify"]):
        done = command("index", *arguments)
        assert done.code == 0, done.err
    refused(command("index", "export", "plain"), 1, "holds no pictures")
    refused(command("index", "export", "a.hdf5"), 1, "too few")
    assert out(command("index", "add", "photos", "--json"))["added"] == 24


def test_filters_that_leave_nobody_can_be_reranked(command: Command, gallery: Path, photos: Path):
    query = find_images(photos / "test")[0][0]
    for way in ("expansion", "reciprocal", "augmentation"):
        done = command("search", query, "--rerank", way, "--where", "id < 0", "--json")
        assert (done.code, done.out) == (0, "[]\n")


def test_an_export_replaces_nothing_unasked_and_stays_out_of_the_index(
    command: Command, gallery: Path
):
    Path("photo.jpg").write_bytes(b"mine")
    refused(command("index", "export", "photo.jpg", "--as", "hdf5"), 1, "there already")
    assert Path("photo.jpg").read_bytes() == b"mine"
    refused(command("index", "export", gallery / "plain"), 1, "lies in the index")
    assert command("index", "compact").code == 0


def test_a_store_that_was_asked_for_stays(command: Command, gallery: Path):
    for arguments in (["--store", "float16"], ["--memory", "4GB"]):
        assert command("index", "compact", *arguments).code == 0
        assert out(command("index", "info", "--json"))["store"] == "float16"


def test_columns_of_several_types_go_into_one_parquet_file(
    command: Command, gallery: Path, photos: Path
):
    new = [find_images(photos / "test")[0][n] for n in (0, 1)]
    for name, value in (("one", "7"), ("other", "seven")):
        table = Path(f"{name}.csv")
        table.write_text(f"path,year\n{new.pop()},{value}\n")
        assert command("index", "add", table).code == 0
    done = command("search", "--queries", photos / "test", "--out", "h.parquet", "-k", 26)
    assert done.code == 0, done.err
    years = set(pyarrow.parquet.read_table("h.parquet").to_pydict()["year"])
    assert years == {None, "7", "seven"}


def test_nothing_is_made_where_there_is_no_index(command: Command):
    refused(command("index", "remove", "--id", 1, "--index", "nowhere"), 1, "no index at nowhere")
    refused(command("index", "compact", "--index", "nowhere"), 1, "no index at nowhere")
    assert not Path("nowhere").exists()
