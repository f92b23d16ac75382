"""One writer, readers beside it, and a build that is killed and run again."""

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
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.snapshot import open_state
from tests.index.making import open_index


def test_only_one_process_writes_at_a_time(gallery: Path):
    with (
        FileLock(gallery / ".lock"),
        pytest.raises(FgembedError, match="another process is writing"),
    ):
        remove_ids(gallery, np.array([1]))


def test_readers_see_a_whole_state_while_it_is_written(gallery: Path, own: Path, bundle: Path):
    """A reader that opens again and again finds 24 pictures or 23, while a writer alternates."""
    opened, stop = Bundle.open(bundle), threading.Event()
    failures: list[Exception] = []
    some = find_images(own)[0][7]

    def write() -> None:
        try:
            while not stop.is_set():
                remove_paths(gallery, [some])
                compact(gallery)
                add_images(gallery, own, opened)
                compact(gallery)
        except Exception as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for _ in range(60):
            manifest, index = open_state(gallery, lambda state: IndexedVectors(gallery, state))
            ids = index.live_ids()
            found = index.search(index.reconstruct(ids[:1]), 24)[1]
            assert set(found[found >= 0].tolist()) == set(ids.tolist())
            assert len(index.paths(ids.tolist())) == manifest.count == len(ids)
            seen.add(len(ids))
    finally:
        stop.set()
        writer.join()
    assert failures == []
    assert seen == {23, 24}


def test_an_open_reader_keeps_its_state(gallery: Path, own: Path):
    searcher = Searcher.open(gallery)
    query = find_images(own)[0][3]
    before = searcher.search(query, 24)
    remove_paths(gallery, [query])
    compact(gallery)
    assert searcher.search(query, 24) == before
    assert len(Searcher.open(gallery).search(query, 24)) == 23


def test_a_killed_build_goes_on_with_what_is_embedded(
    own: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fgembed.index.changes.embedding_cache.BLOCK", 6)
    opened, index = Bundle.open(bundle), tmp_path / "i"

    def stop(stage: str, done: int, total: int) -> None:
        if done >= 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(own, opened, index, report=stop)
    kept = sorted((index / "pending").glob("*.npy"))
    assert len(kept) == 2
    assert not (index / "manifest.json").exists()
    # One of the pictures in the first block changes meanwhile: that block is embedded again.
    os.utime(find_images(own)[0][0], (5, 5))
    embedded: list[int] = []
    whole = OnnxEmbedder.embed

    def counting(self, pictures, report=lambda done, total: None):
        embedded.append(len(pictures))
        return whole(self, pictures, report)

    monkeypatch.setattr(OnnxEmbedder, "embed", counting)
    build_index(own, opened, index)
    assert embedded == [6, 6, 6]
    assert not (index / "pending").exists()
    build_index(own, opened, tmp_path / "whole")
    one, other = open_index(index), open_index(tmp_path / "whole")
    everyone = np.arange(24)
    np.testing.assert_array_equal(one.reconstruct(everyone), other.reconstruct(everyone))
    assert one.paths(range(24)) == other.paths(range(24))
