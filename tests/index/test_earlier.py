"""Indexes of format 2 are read, and brought to today's by the first change."""

import json
import os
import sqlite3
from pathlib import Path

import faiss
import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.errors import IntegrityError
from fgembed.files import sha256
from fgembed.images import find_images
from fgembed.index import Searcher
from fgembed.index.change import add_pictures
from fgembed.index.removal import remove_paths
from fgembed.index.verify import verify
from tests.index.making import open_index


def earlier_index(folder: Path, gallery: Path, kind: str) -> np.ndarray:
    """An index as format 2 wrote it, of the same pictures; gives its vectors."""
    index = open_index(gallery)
    vectors = index.reconstruct(np.arange(24))
    place = folder / "seg-000001"
    place.mkdir(parents=True)
    if kind == "flat":
        plain = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
    else:
        centres = faiss.IndexFlatIP(vectors.shape[1])
        plain = faiss.IndexIVFFlat(centres, vectors.shape[1], 3, faiss.METRIC_INNER_PRODUCT)
        plain.train(vectors)
    plain.add_with_ids(vectors[4:], np.arange(4, 24))
    plain.add_with_ids(vectors[:4], np.arange(4))
    if kind == "flat":
        plain = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
        plain.add_with_ids(vectors, np.arange(24))
    faiss.write_index(plain, str(place / "vectors.faiss"))
    base = sqlite3.connect(place / "items.sqlite")
    base.execute(
        "CREATE TABLE items (id INTEGER PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, "
        "size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL)"
    )
    (root,) = {segment.entry.root for segment in index.segments}
    rows = [
        (n, item.path, item.sha256, item.size, item.mtime_ns)
        for n, (_, item, _) in index.items(range(24)).items()
    ]
    base.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)
    base.commit()
    base.close()
    model = index.manifest.model
    assert model is not None
    names = ("vectors.faiss", "items.sqlite")
    content = {
        "model_type": "fgembed-index", "format": 2,
        "bundle": os.path.relpath(gallery / model.bundle, folder),
        "bundle_fingerprint": model.fingerprint, "precision": "fp32",
        "preprocessing": model.preprocessing, "dimensions": vectors.shape[1], "count": 24,
        "kind": kind, "parameters": {"nprobe": 1} if kind == "ivf" else {}, "recall_at_10": 1.0,
        "next_id": 24,
        "segments": [{"name": "seg-000001", "root": root, "count": 24,
                      "files": {f"seg-000001/{n}": sha256(place / n) for n in names}}],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(content))
    return vectors


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_an_index_of_the_earlier_format_is_read_and_a_change_brings_it_to_todays(
    kind: str, gallery: Path, own: Path, bundle: Path, tmp_path: Path
):
    old = tmp_path / "old.index"
    earlier_index(old, gallery, kind)
    query = find_images(own)[0][6]
    now = Searcher.open(gallery).search(query, 24)
    then = Searcher.open(old).search(query, 24, where="id >= 0")
    assert [(h.id, h.path) for h in then] == [(h.id, h.path) for h in now]
    assert [h.score for h in then] == pytest.approx([h.score for h in now], abs=1e-6)
    assert verify(old).problems == []
    remove_paths(old, [query])
    assert json.loads((old / "manifest.json").read_text())["format"] == 3
    assert [h.id for h in Searcher.open(old).search(query, 24)] == [h.id for h in now[1:]]
    assert sorted(path.name for path in old.glob("seg-*")) == ["seg-000002"]
    assert add_pictures(old, own, Bundle.open(bundle)).added == 1


def test_an_earlier_index_whose_file_is_damaged_is_refused(gallery: Path, tmp_path: Path):
    old = tmp_path / "old.index"
    earlier_index(old, gallery, "flat")
    file = old / "seg-000001" / "vectors.faiss"
    faiss.write_index(faiss.IndexFlatIP(8), str(file))
    content = json.loads((old / "manifest.json").read_text())
    content["segments"][0]["files"]["seg-000001/vectors.faiss"] = sha256(file)
    (old / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match="holds 0 vectors of 8"):
        Searcher.open(old)
