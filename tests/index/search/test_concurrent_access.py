"""A single writer with concurrent readers, and a build that is killed and run again."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError
from fgembed.images.finding import find_images
from fgembed.index import Searcher
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from fgembed.index.changes.compact import compact
from fgembed.index.changes.remove import remove_ids, remove_paths
from fgembed.index.format.manifest import Manifest
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.snapshot import open_state
from tests.index.making import open_index


def test_a_second_writer_is_refused(image_index: Path):
    with (
        FileLock(image_index / ".lock"),
        pytest.raises(FgembedError, match="another process is writing"),
    ):
        remove_ids(image_index, np.array([1]))


def test_readers_see_a_complete_state_while_the_index_is_written(
    image_index: Path, image_folder: Path, bundle: Path
):
    """A reader that opens again and again sees 24 images or 23, while a writer alternates."""
    opened, stop = Bundle.open(bundle), threading.Event()
    failures: list[Exception] = []
    image = find_images(image_folder)[0][7]

    def write() -> None:
        try:
            while not stop.is_set():
                remove_paths(image_index, [image])
                compact(image_index)
                add_images(image_index, image_folder, opened)
                compact(image_index)
        except Exception as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for _ in range(60):
            manifest, index = open_state(
                image_index, lambda state: IndexedVectors(image_index, state)
            )
            ids = index.live_ids()
            neighbours = index.search(index.reconstruct(ids[:1]), 24)[1]
            assert set(neighbours[neighbours >= 0].tolist()) == set(ids.tolist())
            assert len(index.paths(ids.tolist())) == manifest.count == len(ids)
            seen.add(len(ids))
    finally:
        stop.set()
        writer.join()
    assert failures == []
    assert seen == {23, 24}


def test_a_reader_starts_again_if_the_state_changes_while_it_opens(image_index: Path):
    states: list[Manifest] = []

    def opener(state: Manifest) -> IndexedVectors:
        states.append(state)
        if len(states) == 1:
            compact(image_index)  # removes the segment that the state names
        return IndexedVectors(image_index, state)

    manifest, vectors = open_state(image_index, opener)
    assert manifest == states[1] == Manifest.read(image_index) != states[0]
    assert len(vectors.live_ids()) == 24


def test_an_open_reader_keeps_its_state(image_index: Path, image_folder: Path):
    searcher = Searcher.open(image_index)
    query = find_images(image_folder)[0][3]
    before = searcher.search(query, 24)
    remove_paths(image_index, [query])
    compact(image_index)
    assert searcher.search(query, 24) == before
    assert len(Searcher.open(image_index).search(query, 24)) == 23


def test_a_build_after_a_kill_reuses_embedded_images(
    image_folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fgembed.index.changes.embedding_cache.BLOCK", 6)
    opened, index = Bundle.open(bundle), tmp_path / "i"

    def stop(stage: str, done: int, total: int) -> None:
        if done >= 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(image_folder, opened, index, report=stop)
    cached = sorted((index / "pending").glob("*.npy"))
    assert len(cached) == 2
    assert not (index / "manifest.json").exists()
    # An image of the first block changes meanwhile: that block is embedded again.
    os.utime(find_images(image_folder)[0][0], (5, 5))
    embedded: list[int] = []
    original = OnnxEmbedder.embed

    def counting(self, images, report=lambda done, total: None):
        embedded.append(len(images))
        return original(self, images, report)

    monkeypatch.setattr(OnnxEmbedder, "embed", counting)
    build_index(image_folder, opened, index)
    assert embedded == [6, 6, 6]
    assert not (index / "pending").exists()
    build_index(image_folder, opened, tmp_path / "uninterrupted")
    resumed, uninterrupted = open_index(index), open_index(tmp_path / "uninterrupted")
    ids = np.arange(24)
    np.testing.assert_array_equal(resumed.reconstruct(ids), uninterrupted.reconstruct(ids))
    assert resumed.paths(range(24)) == uninterrupted.paths(range(24))
