"""`fgembed index export`: what FAISS and ann-benchmarks read of it."""

import json
from pathlib import Path

import faiss
import h5py
import numpy as np
import pyarrow.parquet
import pytest

from fgembed.images.finding import find_images
from tests.conftest import Command
from tests.end_to_end.refusals import refused
from tests.index.making import KIND_SETTINGS, exact, make_index, unit_vectors, write_embeddings


@pytest.mark.parametrize("kind", ["flat", "ivfpq", "hnsw", "ivf"])
def test_plain_faiss_reads_what_is_exported(command: Command, kind: str, tmp_path: Path):
    vectors, queries = unit_vectors(900), unit_vectors(20, seed=1)
    make_index(tmp_path / "i", vectors, KIND_SETTINGS[kind])
    assert command("index", "export", "plain", "--index", "i").code == 0
    index = faiss.read_index("plain/knn.index")
    table = pyarrow.parquet.read_table("plain/metadata/metadata_0000.parquet").to_pydict()
    rows = np.load("plain/img_emb/img_emb_0000.npy")
    ids = np.array(table["id"])
    np.testing.assert_allclose(rows, vectors[ids], atol=1e-6)
    assert table["image_path"][5] == f"/images/{ids[5]}.jpg"
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
    refused(command("index", "export", "plain", "--index", "i"), 1, "exists already")
    assert command("index", "export", "plain", "--index", "i", "--overwrite").code == 0


def test_a_data_set_for_ann_benchmarks_has_exact_neighbours(command: Command, tmp_path: Path):
    vectors = unit_vectors(500)
    make_index(tmp_path / "i", vectors, KIND_SETTINGS["ivf"])
    told = command("index", "export", "g.hdf5", "--index", "i", "--queries", 40, "--json").answer()
    assert told["queries"] == 40
    with h5py.File("g.hdf5") as file:
        train, test = file["train"][:], file["test"][:]
        assert file.attrs["distance"] == "angular"
        scores, places = exact(test, train, np.arange(460), 100)
        np.testing.assert_allclose(file["distances"][:], 1 - scores, atol=1e-5)
        assert (file["neighbors"][:] == places).mean() > 0.99
    everything = np.concatenate([train, test])
    assert sorted(map(bytes, everything)) == sorted(map(bytes, vectors))


def test_an_export_replaces_nothing_unasked_and_stays_out_of_the_index(
    command: Command, gallery: Path
):
    Path("photo.jpg").write_bytes(b"mine")
    refused(command("index", "export", "photo.jpg", "--as", "hdf5"), 1, "exists already")
    assert Path("photo.jpg").read_bytes() == b"mine"
    refused(command("index", "export", gallery / "plain"), 1, "lies in the index")
    assert command("index", "compact").code == 0


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


def test_large_whole_numbers_beside_fractions_are_exported(command: Command, tmp_path: Path):
    for number, values in enumerate([[9007199254740993, 5, 6], [2.5, None, 3.0]]):
        columns = {"image_path": [f"/photos/{number}/{n}.jpg" for n in range(3)], "size": values}
        write_embeddings(tmp_path / f"{number}", [unit_vectors(3, seed=number)], columns)
        verb = ("build", "--out", "i") if number == 0 else ("add", "--index", "i")
        assert command("index", *verb, "--from-embeddings", f"{number}").code == 0
    np.save("q.npy", unit_vectors(1))
    asked = ("--queries", "q.npy", "--out", "h.parquet", "--index", "i", "-k", 9)
    assert command("search", *asked).code == 0
    assert command("index", "export", "plain", "--index", "i").code == 0
    files = sorted(Path("plain/metadata").iterdir())
    sizes = [
        n for file in files for n in pyarrow.parquet.read_table(file)["given_size"].to_pylist()
    ]
    assert sizes == [9007199254740992.0, 5.0, 6.0, 2.5, None, 3.0]
    rows = pyarrow.parquet.read_table("h.parquet").to_pylist()
    assert sorted(row["given_size"] for row in rows if row["given_size"]) == sorted(
        filter(None, sizes)
    )


def test_columns_of_many_types_are_one_in_all_files(command: Command, tmp_path: Path):
    for number, values in enumerate([[1, 2, 3], ["a", None, "7"], [0.5, None, 2.0]]):
        paths = [f"/photos/{number}/{place}.jpg" for place in range(3)]
        columns = {
            "image_path": paths,
            "code": values,
            "query": [1, 2, 3],
            "given_query": [4, 5, 6],
        }
        write_embeddings(tmp_path / f"{number}", [unit_vectors(3, seed=number)], columns)
        verb = ("build", "--out", "i") if number == 0 else ("add", "--index", "i")
        assert command("index", *verb, "--from-embeddings", f"{number}").code == 0
    assert command("index", "export", "plain", "--index", "i").code == 0
    files = sorted(Path("plain/metadata").iterdir())
    assert {str(pyarrow.parquet.read_schema(file).field("code").type) for file in files} == {
        "string"
    }
    codes = [row for file in files for row in pyarrow.parquet.read_table(file)["code"].to_pylist()]
    assert codes == ["1", "2", "3", "a", None, "7", "0.5", None, "2.0"]
    np.save("q.npy", unit_vectors(2))
    for form in ("jsonl", "parquet"):
        asked = ("--queries", "q.npy", "--out", f"h.{form}", "--index", "i", "-k", 9)
        assert command("search", *asked).out == f"h.{form}: 18 hits of 2 queries\n"
    (first, *_) = pyarrow.parquet.read_table("h.parquet").to_pylist()
    assert (first["query"], first["given_query"], first["given_given_query"]) == ("q.npy#0", 1, 4)
