"""Proving an index, and finding copies in it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.disk.files import check_files, sha256
from fgembed.errors import IntegrityError
from fgembed.images.finding import find_images
from fgembed.index.changes.add import add_images
from fgembed.index.changes.compact import compact
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.metadata_table import Item
from fgembed.index.tools.duplicates import duplicates
from fgembed.index.tools.verify import verify
from tests.index.making import WISHES, Drawn, listed, make_index, open_index, unit_vectors


def test_copies_are_found_by_content_and_by_score(gallery: Path, own: Path, bundle: Path):
    pictures = find_images(own)[0]
    shutil.copy(pictures[0], own / "copy.jpg")
    shutil.copy(pictures[0], own / "again.jpg")
    Image.open(pictures[8]).save(own / "near.jpg", quality=80)
    add_images(gallery, own, Bundle.open(bundle))
    index = open_index(gallery)
    (group,) = duplicates(index, None)
    assert group.exact
    names = {index.paths([one])[one].name for one in group.ids}
    assert names == {pictures[0].name, "copy.jpg", "again.jpg"}
    numbers = listed(gallery)
    pair = [numbers[pictures[8]], numbers[own / "near.jpg"]]
    score = float(np.prod([1.0])) * float(
        index.reconstruct(np.array(pair[:1]))[0] @ index.reconstruct(np.array(pair[1:]))[0]
    )
    near = [one for one in duplicates(index, score - 1e-4) if not one.exact]
    assert any(set(pair) <= set(one.ids) for one in near)
    assert all(one.score >= score - 1e-4 for one in near)
    assert not any(set(pair) <= set(one.ids) for one in duplicates(index, score + 1e-4))


def test_verify_finds_what_is_wrong(gallery: Path, own: Path, bundle: Path):
    from fgembed.index.format.model_binding import find_bundle

    found = verify(gallery, lambda manifest: find_bundle(gallery, manifest, bundle))
    assert found.problems == []
    assert (found.files, found.searched, found.embedded) == (3, 24, 8)
    assert found.self_recall == 1.0
    file = gallery / "seg-000001" / "vectors.npy"
    manifest = gallery / "manifest.json"
    original = np.load(file)

    def rewritten(vectors: np.ndarray) -> list[str]:
        np.save(file, vectors)
        content = json.loads(manifest.read_text())
        content["segments"][0]["files"]["seg-000001/vectors.npy"] = sha256(file)
        manifest.write_text(json.dumps(content))
        return verify(gallery, lambda m: find_bundle(gallery, m, bundle)).problems

    assert any("gives another vector" in one for one in rewritten(np.roll(original, 1, axis=0)))
    assert any("not of length 1" in one for one in rewritten(original * 1.5))
    other = unit_vectors(24, original.shape[1]).astype(np.float32)
    assert any("gives another vector" in one for one in rewritten(other))
    assert rewritten(original) == []
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "next_id": 5}))
    with pytest.raises(IntegrityError, match="next id 5 of 24 pictures"):
        verify(gallery)


def test_a_near_copy_of_a_picture_with_many_copies_is_found(tmp_path: Path):
    vectors = unit_vectors(60)
    vectors[:40] = vectors[0]
    vectors[40] = vectors[0] + 0.1 * vectors[50]
    vectors[40] /= np.linalg.norm(vectors[40])
    score = float(vectors[40] @ vectors[0])

    class Files(Drawn):
        def items(self) -> list[Item]:
            same = [("same" if item.id < 40 else str(item.id)) for item in super().items()]
            pairs = zip(super().items(), same, strict=True)
            return [replace(item, sha256=checksum) for item, checksum in pairs]

    ids = range(60)
    make_index(tmp_path / "i", vectors, WISHES["flat"], Files(vectors, ids, [""] * 60))
    exact, *near = duplicates(open_index(tmp_path / "i"), score - 1e-3)
    assert exact.ids == list(range(40))
    assert any(group.ids[:2] == [0, 40] for group in near)


def test_it_begins_again_where_a_writer_has_changed_the_index_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index = tmp_path / "i"
    make_index(index, unit_vectors(50), WISHES["flat"])
    written: list[Any] = []

    def after_a_compaction(*arguments: Any) -> None:
        if not written:
            written.append(compact(index))
        check_files(*arguments)

    monkeypatch.setattr("fgembed.index.tools.verify.check_files", after_a_compaction)
    assert verify(index).manifest == Manifest.read(index)
    assert written
