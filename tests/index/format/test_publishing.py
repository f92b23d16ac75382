"""The order in which an index is written: a segment is on disk before the manifest names it."""

from pathlib import Path

import pytest

from fgembed.disk.flushing import sync
from fgembed.index.format.manifest import Manifest
from tests.index.making import KIND_SETTINGS, make_index, unit_vectors


def test_every_file_is_flushed_before_the_manifest_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed: list[str] = []
    write_manifest = Manifest.write

    def noting(path: Path) -> None:
        flushed.append(path.name)
        sync(path)

    def write(self: Manifest, folder: Path) -> None:
        flushed.append("manifest")
        write_manifest(self, folder)

    monkeypatch.setattr("fgembed.index.segments.segment.sync", noting)
    monkeypatch.setattr(Manifest, "write", write)
    make_index(tmp_path / "i", unit_vectors(700), KIND_SETTINGS["ivfpq"])
    files = {path.name for path in (tmp_path / "i" / "seg-000001").iterdir()}
    assert files == {"vectors.npy", "vectors.faiss", "ids.npy", "items.sqlite"}
    assert set(flushed[: flushed.index("manifest")]) >= files | {"seg-000001", "i"}
