"""Existing embeddings, of `fgembed embed` or of other tools, become an index."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fgembed.bundle import Bundle
from fgembed.embedding.shards import embed_into
from fgembed.errors import FgembedError, IntegrityError, NotFoundError
from fgembed.images.finding import find_images
from fgembed.images.sources import list_images
from fgembed.index import Searcher
from fgembed.index.changes.build import build_index
from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
from fgembed.index.changes.from_embeddings import build_from_embeddings
from tests.index.making import exact, open_index, unit_vectors, write_embeddings
from tests.sealing import without_checksums


def test_embeddings_of_fgembed_embed_give_the_hits_of_an_index_of_the_images(
    bundle: Path, photos: Path, tmp_path: Path
):
    opened = Bundle.open(bundle)
    listing = list_images([photos / "train"])
    embed_into(tmp_path / "embeddings", listing, opened, part_size=7)
    imported = ImportedEmbeddings.open(tmp_path / "embeddings")
    build_from_embeddings(imported, opened, tmp_path / "imported")
    build_index(photos / "train", opened, tmp_path / "built")
    query = find_images(photos / "test")[0][2]
    imported_hits, built_hits = (
        Searcher.open(tmp_path / name).search(query, 24) for name in ("imported", "built")
    )
    assert [(h.path, h.id) for h in imported_hits] == [(h.path, h.id) for h in built_hits]
    expected = [hit.score for hit in built_hits]
    assert [hit.score for hit in imported_hits] == pytest.approx(expected, abs=1e-5)


def test_files_are_read_in_numerical_order_with_their_metadata(tmp_path: Path):
    vectors = unit_vectors(120)
    columns: dict[str, Any] = {
        "id": list(range(1000, 1120)),
        "image_path": [f"/photos/{n}.jpg" for n in range(120)],
        "year": [str(2000 + n % 30) for n in range(120)],
    }
    imported = ImportedEmbeddings.open(
        write_embeddings(tmp_path / "e", np.split(vectors, 12), columns)
    )
    build_from_embeddings(imported, None, tmp_path / "i")
    index = open_index(tmp_path / "i")
    scores, ids = index.search(vectors, 1)
    assert ids[:, 0].tolist() == columns["id"]
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)
    assert index.paths([1099])[1099] == Path("/photos/99.jpg")
    assert sorted(index.ids_where("year = 2003").tolist()) == [1003, 1033, 1063, 1093]
    assert index.manifest.next_id == 1120


def test_vectors_of_any_length_are_compared_by_cosine(tmp_path: Path):
    vectors = unit_vectors(200)
    lengths = np.random.default_rng(0).uniform(0.1, 50, (200, 1))
    imported = ImportedEmbeddings.open(
        write_embeddings(tmp_path / "e", [(vectors * lengths).astype(np.float64)])
    )
    build_from_embeddings(imported, None, tmp_path / "i")
    queries = unit_vectors(10, seed=1)
    scores, ids = open_index(tmp_path / "i").search(queries, 5)
    expected = exact(queries, vectors, np.arange(200), 5)
    np.testing.assert_allclose(scores, expected[0], atol=1e-5)
    assert (ids == expected[1]).all()
    assert open_index(tmp_path / "i").paths([7])[7].name == "img_emb_0.npy#7"


@pytest.mark.parametrize("invalid", [0.0, np.nan, np.inf])
def test_the_error_names_a_row_that_is_zero_or_not_finite(invalid: float, tmp_path: Path):
    vectors = unit_vectors(50)
    vectors[33] = invalid
    imported = ImportedEmbeddings.open(write_embeddings(tmp_path / "e", np.split(vectors, 2)))
    with pytest.raises(
        IntegrityError, match=r"img_emb_1.npy: row 8 is zero or not finite.*; embed that"
    ):
        build_from_embeddings(imported, None, tmp_path / "i")
    assert not (tmp_path / "i" / "manifest.json").exists()


def test_folders_that_do_not_fit_are_refused(tmp_path: Path):
    with pytest.raises(NotFoundError, match=r"no \.npy files .*; give a folder with \.npy files"):
        ImportedEmbeddings.open(tmp_path)
    write_embeddings(tmp_path / "widths", [unit_vectors(3), unit_vectors(3, 12)])
    with pytest.raises(
        IntegrityError, match=r"differ in their dimensions: 12 in .*; keep the files"
    ):
        ImportedEmbeddings.open(tmp_path / "widths")
    columns: dict[str, Any] = {"image_path": list("abcdef")}
    write_embeddings(tmp_path / "rows", [unit_vectors(3), unit_vectors(3)], columns)
    (tmp_path / "rows" / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(IntegrityError, match="metadata of 3 rows in 1 files for 6 vectors in 2"):
        ImportedEmbeddings.open(tmp_path / "rows")
    (tmp_path / "none" / "img_emb").mkdir(parents=True)
    for number, array in enumerate([np.arange(5.0), np.zeros((2, 3), np.int32)]):
        np.save(tmp_path / "none" / "img_emb" / "0.npy", array)
        with pytest.raises(IntegrityError, match=r"expected floats \(N, D\)"):
            ImportedEmbeddings.open(tmp_path / "none")
        assert number < 2
    (tmp_path / "none" / "img_emb" / "0.npy").write_bytes(b"\x93NUMPY\x01\x00garbage")
    with pytest.raises(IntegrityError, match=r"is no \.npy file"):
        ImportedEmbeddings.open(tmp_path / "none")
    np.save(tmp_path / "none" / "img_emb" / "0.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(IntegrityError, match=r"is no \.npy file"):
        ImportedEmbeddings.open(tmp_path / "none")


def test_ids_that_come_twice_are_refused(tmp_path: Path):
    columns: dict[str, Any] = {"id": [1, 2, 2], "image_path": list("abc")}
    imported = ImportedEmbeddings.open(write_embeddings(tmp_path / "e", [unit_vectors(3)], columns))
    with pytest.raises(
        IntegrityError, match=r"no list of ids, expected distinct .*; correct the column"
    ):
        build_from_embeddings(imported, None, tmp_path / "i")


def test_embeddings_of_another_model_are_refused(bundle: Path, photos: Path, tmp_path: Path):
    opened = Bundle.open(bundle)
    embed_into(tmp_path / "e", list_images([photos / "test"]), opened)
    without_checksums(tmp_path / "e")
    plan = tmp_path / "e" / "embed.json"
    plan.write_text(plan.read_text().replace(opened.config.fingerprint, "0" * 64))
    with pytest.raises(
        IntegrityError, match=r"another model or precision .*; embed the images again"
    ):
        build_from_embeddings(ImportedEmbeddings.open(tmp_path / "e"), opened, tmp_path / "i")
    wide = ImportedEmbeddings.open(write_embeddings(tmp_path / "wide", [unit_vectors(3)]))
    with pytest.raises(IntegrityError, match=r"has \d+ dimensions, the embeddings .* 24"):
        build_from_embeddings(wide, opened, tmp_path / "i")


def test_an_index_without_a_model_cannot_be_searched_by_images(tmp_path: Path):
    imported = ImportedEmbeddings.open(write_embeddings(tmp_path / "e", [unit_vectors(30)]))
    build_from_embeddings(imported, None, tmp_path / "i")
    with pytest.raises(FgembedError, match="without a model"):
        Searcher.open(tmp_path / "i")


def test_the_remains_of_a_killed_build_are_removed(tmp_path: Path):
    imported = ImportedEmbeddings.open(write_embeddings(tmp_path / "e", [unit_vectors(30)]))
    build_from_embeddings(imported, None, tmp_path / "i")
    shutil.copytree(tmp_path / "i" / "seg-000001", tmp_path / "i" / "seg-000007")
    build_from_embeddings(imported, None, tmp_path / "i")
    assert [path.name for path in (tmp_path / "i").glob("seg-*")] == ["seg-000008"]


@pytest.mark.parametrize(
    ("column", "word"),
    [
        (pyarrow.array([1, 2, 3]), "is not a path in every row"),
        (pyarrow.array([["a"], ["b"], ["c"]]), "is not a path in every row"),
        (pyarrow.array([b"a", b"b", b"c"]), "is not a path in every row"),
        (pyarrow.array(["a", None, "c"]), "is not a path in every row"),
    ],
)
def test_image_paths_must_be_text(column: Any, word: str, tmp_path: Path):
    write_embeddings(tmp_path / "e", [unit_vectors(3)], {"image_path": column})
    with pytest.raises(IntegrityError, match=word):
        ImportedEmbeddings.open(tmp_path / "e")


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([1, 2, 3], pyarrow.timestamp("ns")),
        pyarrow.array([1 << 40] * 3, pyarrow.timestamp("s")),
        pyarrow.array([1 << 30] * 3, pyarrow.date32()),
        pyarrow.StringArray.from_buffers(
            3, pyarrow.py_buffer(np.arange(4, dtype=np.int32)), pyarrow.py_buffer(b"\xff" * 3)
        ),
    ],
)
def test_the_error_names_a_value_that_python_cannot_hold(column: Any, tmp_path: Path):
    columns: dict[str, Any] = {"image_path": list("abc"), "made": column}
    write_embeddings(tmp_path / "e", [unit_vectors(3)], columns)
    with pytest.raises(
        IntegrityError, match=r"a value in column made cannot be read: .*; convert it"
    ):
        build_from_embeddings(ImportedEmbeddings.open(tmp_path / "e"), None, tmp_path / "i")


def test_columns_of_the_same_name_are_refused(tmp_path: Path):
    folder = write_embeddings(tmp_path / "e", [unit_vectors(3)], {"image_path": list("abc")})
    table = pyarrow.Table.from_arrays([pyarrow.array([1, 2, 3])] * 2, ["x", "x"])
    pyarrow.parquet.write_table(table, folder / "metadata" / "metadata_0.parquet")
    with pytest.raises(IntegrityError, match="two columns are called 'x'; rename or drop"):
        ImportedEmbeddings.open(folder)


def test_files_are_matched_by_their_numbers_and_parts_must_be_complete(
    bundle: Path, photos: Path, tmp_path: Path
):
    columns: dict[str, Any] = {"image_path": list("abcdef")}
    folder = write_embeddings(tmp_path / "e", [unit_vectors(3)] * 2, columns)
    (folder / "metadata" / "metadata_1.parquet").rename(folder / "metadata" / "metadata_2.parquet")
    with pytest.raises(
        IntegrityError, match=r"img_emb_1.npy and metadata_2.parquet do not belong .*; give each"
    ):
        ImportedEmbeddings.open(folder)
    embed_into(tmp_path / "half", list_images([photos / "test"]), Bundle.open(bundle), part_size=4)
    for name in (
        "img_emb/img_emb_0002.npy",
        "metadata/metadata_0002.parquet",
        "checksums/part_0002.json",
    ):
        (tmp_path / "half" / name).unlink()
    with pytest.raises(IntegrityError, match="has 2 of its 3 parts"):
        ImportedEmbeddings.open(tmp_path / "half")


def test_vectors_of_any_size_are_brought_to_length_1(tmp_path: Path):
    vectors = unit_vectors(6)
    scaled = vectors * np.array([1e25, 1e-30, 1.0009, 1, 7, 1e-3], np.float32)[:, None]
    imported = ImportedEmbeddings.open(write_embeddings(tmp_path / "e", [scaled]))
    build_from_embeddings(imported, None, tmp_path / "i")
    back = open_index(tmp_path / "i").reconstruct(np.arange(6))
    np.testing.assert_allclose(back, vectors, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_floats_of_any_kind_keep_their_precision(kind: str, tmp_path: Path):
    vectors = (3 * unit_vectors(40)).astype(kind)
    folder = write_embeddings(tmp_path / "e", [np.asfortranarray(vectors)])
    build_from_embeddings(ImportedEmbeddings.open(folder), None, tmp_path / "i")
    expected = vectors.astype(np.float64)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    back = open_index(tmp_path / "i").reconstruct(np.arange(40))
    np.testing.assert_allclose(back, expected, atol=2e-7)
