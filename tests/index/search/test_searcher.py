"""The Python API of a search, and the guarantees of an index on disk."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import read_image
from fgembed.index import Searcher
from fgembed.index.changes.build import build_index
from fgembed.index.search.explain import explain, peak
from fgembed.pages.cards import agreement


def test_hits_equal_exact_search_over_the_embeddings(index: Path, bundle: Path, photos: Path):
    opened = Bundle.open(bundle)
    embedder = OnnxEmbedder(opened.model, opened.preprocessing, "cpu")
    gallery = embedder(find_images(photos / "train")[0])
    query = find_images(photos / "test")[0][4]
    vector = embedder.run(read_image(query, opened.preprocessing)[None])[0][0]
    scores = gallery.vectors @ vector
    order = np.argsort(-scores)[:5]
    hits = Searcher.open(index).search(query, k=5)
    assert [hit.path for hit in hits] == [gallery.paths[i] for i in order]
    assert [hit.score for hit in hits] == pytest.approx(scores[order].tolist(), abs=1e-5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]


def test_k_above_the_size_of_the_index_gives_all_hits(index: Path, photos: Path):
    hits = Searcher.open(str(index)).search(str(find_images(photos / "test")[0][0]), k=1000)
    assert len(hits) == 24
    assert len({hit.id for hit in hits}) == 24


def test_k_below_1_is_refused(index: Path, photos: Path):
    with pytest.raises(FgembedError, match="k is 0, expected at least 1; raise k"):
        Searcher.open(index).search(find_images(photos / "test")[0][0], k=0)


def test_rebuilding_keeps_readers_of_the_old_index_working(
    bundle: Path, photos: Path, tmp_path: Path
):
    folder, opened = tmp_path / "gallery.index", Bundle.open(bundle)
    build_index(photos / "train", opened, folder)
    before = Searcher.open(folder)
    image = find_images(photos / "train")[0][3]
    build_index(photos / "test", opened, folder)
    query = find_images(photos / "test")[0][0]
    after = Searcher.open(folder)
    assert (before.manifest.count, after.manifest.count) == (24, 9)
    assert after.search(query, 1)[0].path == query
    assert before.search(image, 1)[0].path == image
    assert sorted(path.name for path in folder.glob("seg-*")) == ["seg-000002"]


def test_the_manifest_binds_the_index_to_its_model(index: Path, bundle: Path):
    manifest = json.loads((index / "manifest.json").read_text())
    opened = Bundle.open(bundle)
    assert manifest["model"]["fingerprint"] == opened.config.fingerprint
    assert manifest["model"]["preprocessing"] == opened.preprocessing.digest()
    assert (manifest["format"], manifest["kind"], manifest["count"]) == (4, "auto", 24)
    assert set(manifest["segments"][0]["files"]) == {
        "seg-000001/ids.npy",
        "seg-000001/vectors.npy",
        "seg-000001/items.sqlite",
    }


def test_cards_pair_hits_with_their_images_and_maps(index: Path, photos: Path):
    searcher = Searcher.open(index)
    query = find_images(photos / "test")[0][0]
    hits = searcher.search(query, 4)
    explained = explain(searcher, query, hits)
    assert [card.title for card in explained.row.hits] == [hit.path.name for hit in hits]
    assert [card.caption for card in explained.row.hits] == [hit.path.parent.name for hit in hits]
    assert explained.row.query.caption == query.parent.name
    spec = searcher.embedder.spec
    for hit, card in zip(hits, explained.row.hits, strict=True):
        assert card.heat is not None
        alone = searcher.rationales([read_image(hit.path, spec)])[0]
        np.testing.assert_allclose(card.heat, alone, atol=2e-2)  # shown from a larger decode
        assert explained.peaks()[hit.id] == peak(card.heat)


def test_the_peak_is_the_middle_of_the_largest_cell():
    heat = np.zeros((4, 2))
    heat[3, 0] = 1
    assert peak(heat) == (0.25, 0.875)


def test_search_many_gives_each_readable_image_the_hits_of_its_own_search(
    index: Path, photos: Path, tmp_path: Path
):
    queries = find_images(photos / "test")[0][:3]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    searcher = Searcher.open(index)
    results, skipped = searcher.search_many([queries[0], bad, *queries[1:]], k=4)
    assert [image for image, _ in results] == queries
    assert [unreadable.path for unreadable in skipped] == [bad]
    for image, hits in results:
        single = searcher.search(image, 4)
        assert [hit.id for hit in hits] == [hit.id for hit in single]
        expected = [hit.score for hit in single]
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-5)


def test_a_single_path_in_place_of_a_list_is_refused(index: Path):
    with pytest.raises(FgembedError, match=r"images is 'a\.jpg'.*; put the path in a list"):
        Searcher.open(index).search_many("a.jpg")


def test_vectors_of_another_dimension_are_refused(index: Path):
    searcher = Searcher.open(index)
    queries = np.zeros((2, 5), np.float32)
    with pytest.raises(
        FgembedError, match=r"queries of shape \(2, 5\) do not fit .*; give vectors"
    ):
        searcher.search_vectors(queries)


def test_classes_of_a_page_are_compared_as_they_look(bundle: Path, photos: Path, tmp_path: Path):
    for name in ("gallery/Ros\u00e9", "queries/Rose\u0301"):
        shutil.copytree(next((photos / "test").iterdir()), tmp_path / name)
    build_index(tmp_path / "gallery", Bundle.open(bundle), tmp_path / "i")
    searcher = Searcher.open(tmp_path / "i", bundle)
    query = find_images(tmp_path / "queries")[0][0]
    row = explain(searcher, query, searcher.search(query, k=1)).row
    assert agreement(row.query, row.hits[0]) == "same"
