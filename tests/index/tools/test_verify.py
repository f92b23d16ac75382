"""Verification of an index, and the copies in it."""

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
from tests.index.making import (
    KIND_SETTINGS,
    RandomPart,
    indexed_ids,
    make_index,
    open_index,
    unit_vectors,
)
from tests.sealing import write_with_checksum


def test_copies_are_detected_by_content_and_by_score(
    image_index: Path, image_folder: Path, bundle: Path
):
    images = find_images(image_folder)[0]
    shutil.copy(images[0], image_folder / "copy.jpg")
    shutil.copy(images[0], image_folder / "again.jpg")
    Image.open(images[8]).save(image_folder / "near.jpg", quality=80)
    add_images(image_index, image_folder, Bundle.open(bundle))
    index = open_index(image_index)
    (group,) = duplicates(index, None)
    assert group.exact
    names = {index.paths([id_])[id_].name for id_ in group.ids}
    assert names == {images[0].name, "copy.jpg", "again.jpg"}
    numbers = indexed_ids(image_index)
    pair = [numbers[images[8]], numbers[image_folder / "near.jpg"]]
    score = float(np.prod([1.0])) * float(
        index.reconstruct(np.array(pair[:1]))[0] @ index.reconstruct(np.array(pair[1:]))[0]
    )
    similar = [group for group in duplicates(index, score - 1e-4) if not group.exact]
    assert any(set(pair) <= set(group.ids) for group in similar)
    assert all(group.score >= score - 1e-4 for group in similar)
    assert not any(set(pair) <= set(group.ids) for group in duplicates(index, score + 1e-4))


def test_verify_reports_problems(image_index: Path, image_folder: Path, bundle: Path):
    from fgembed.index.format.model_binding import find_bundle

    report = verify(image_index, lambda manifest: find_bundle(image_index, manifest, bundle))
    assert report.problems == []
    assert (report.files, report.searched, report.embedded) == (3, 24, 8)
    assert report.self_recall == 1.0
    file = image_index / "seg-000001" / "vectors.npy"
    manifest = image_index / "manifest.json"
    original = np.load(file)

    def rewritten(vectors: np.ndarray) -> list[str]:
        np.save(file, vectors)
        content = json.loads(manifest.read_text())
        content["segments"][0]["files"]["seg-000001/vectors.npy"] = sha256(file)
        write_with_checksum(manifest, content)
        return verify(image_index, lambda m: find_bundle(image_index, m, bundle)).problems

    assert any(
        "gives another vector" in problem for problem in rewritten(np.roll(original, 1, axis=0))
    )
    assert any("not of length 1" in problem for problem in rewritten(original * 1.5))
    other = unit_vectors(24, original.shape[1]).astype(np.float32)
    assert any("gives another vector" in problem for problem in rewritten(other))
    assert rewritten(original) == []
    content = json.loads(manifest.read_text())
    write_with_checksum(manifest, {**content, "next_id": 5})
    with pytest.raises(IntegrityError, match="next id 5 of 24 images"):
        verify(image_index)


def test_a_similar_image_is_detected_beside_40_copies(tmp_path: Path):
    vectors = unit_vectors(60)
    vectors[:40] = vectors[0]
    vectors[40] = vectors[0] + 0.1 * vectors[50]
    vectors[40] /= np.linalg.norm(vectors[40])
    score = float(vectors[40] @ vectors[0])

    class Files(RandomPart):
        def items(self) -> list[Item]:
            same = [("same" if item.id < 40 else str(item.id)) for item in super().items()]
            pairs = zip(super().items(), same, strict=True)
            return [replace(item, sha256=checksum) for item, checksum in pairs]

    ids = range(60)
    make_index(tmp_path / "i", vectors, KIND_SETTINGS["flat"], Files(vectors, ids, [""] * 60))
    exact, *similar = duplicates(open_index(tmp_path / "i"), score - 1e-3)
    assert exact.ids == list(range(40))
    assert any(group.ids[:2] == [0, 40] for group in similar)


def test_verify_starts_again_if_a_writer_has_changed_the_index_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index = tmp_path / "i"
    make_index(index, unit_vectors(50), KIND_SETTINGS["flat"])
    written: list[Any] = []

    def after_a_compaction(*arguments: Any) -> None:
        if not written:
            written.append(compact(index))
        check_files(*arguments)

    monkeypatch.setattr("fgembed.index.tools.verify.check_files", after_a_compaction)
    assert verify(index).manifest == Manifest.read(index)
    assert written


def test_images_that_cannot_be_read_are_told_and_not_taken_for_unchanged(
    image_index: Path, image_folder: Path
):
    image, gone = find_images(image_folder)[0][:2]
    gone.unlink()
    image.unlink()
    image.mkdir()
    report = verify(image_index, checksums=True)
    told = f"1 image files cannot be read and were not compared, the first: {image}"
    assert told in report.notes
    assert (report.missing.missing, report.changed) == ([str(gone)], [])
    image.rmdir()
    image.symlink_to(find_images(image_folder)[0][0])
    assert not any("cannot be read" in note for note in verify(image_index, checksums=True).notes)
