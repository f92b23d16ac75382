"""The order in which an index is written: all of a segment is on disk before the manifest is."""

from pathlib import Path

import pytest

from fgembed.disk.files import sync
from fgembed.index.format.manifest import Manifest
from tests.index.making import WISHES, make_index, unit_vectors


def test_every_file_is_flushed_before_the_manifest_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed: list[str] = []
    whole_write = Manifest.write

    def noted(path: Path) -> None:
        flushed.append(path.name)
        sync(path)

    def write(self: Manifest, folder: Path) -> None:
        flushed.append("manifest")
        whole_write(self, folder)

    monkeypatch.setattr("fgembed.index.segments.segment.sync", noted)
    monkeypatch.setattr(Manifest, "write", write)
    make_index(tmp_path / "i", unit_vectors(700), WISHES["ivfpq"])
    files = {path.name for path in (tmp_path / "i" / "seg-000001").iterdir()}
    assert files == {"vectors.npy", "vectors.faiss", "ids.npy", "items.sqlite"}
    assert set(flushed[: flushed.index("manifest")]) >= files | {"seg-000001", "i"}
