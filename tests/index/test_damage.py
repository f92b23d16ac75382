"""Damaged, foreign and hostile files of every kind of index are refused, and memory stays small."""

import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

from fgembed.disk.files import check_files, sha256
from fgembed.errors import IntegrityError
from fgembed.index.format.manifest import (
    MANIFEST_FILE,
    PROVED_FILE,
    REQUIRED_FILES,
    STRUCTURE_FILE,
    Manifest,
)
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.snapshot import open_state
from tests.index.making import KIND_SETTINGS, make_index, unit_vectors
from tests.sealing import write_with_checksum

# `make proof` runs many more.
DAMAGED = int(os.environ.get("FGEMBED_DAMAGED", "200"))
pytestmark = pytest.mark.proof
Generator = np.random.Generator


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("indexes")
    for kind, settings in KIND_SETTINGS.items():
        make_index(folder / kind, unit_vectors(800), settings)
    return {kind: folder / kind for kind in KIND_SETTINGS}


def truncated(data: bytes, random: Generator) -> bytes:
    return data[: int(random.integers(0, len(data)))]


def flipped(data: bytes, random: Generator) -> bytes:
    changed = bytearray(data)
    changed[int(random.integers(0, len(data)))] ^= 1 << int(random.integers(0, 8))
    return bytes(changed)


def huge_number(data: bytes, random: Generator) -> bytes:
    """Eight bytes near the start, where lengths are, become a huge length."""
    start = int(random.integers(0, min(200, len(data) - 8)))
    return data[:start] + (1 << 62).to_bytes(8, "little") + data[start + 8 :]


def noise(data: bytes, random: Generator) -> bytes:
    return random.bytes(int(random.integers(0, 2 * len(data))))


def longer(data: bytes, random: Generator) -> bytes:
    return data + random.bytes(int(random.integers(1, 100)))


DAMAGES: list[Callable[[bytes, Generator], bytes]] = [
    truncated, flipped, flipped, huge_number, noise, longer,
]  # fmt: skip


def opened(folder: Path) -> IndexedVectors:
    return open_state(folder, lambda manifest: IndexedVectors(folder, manifest))[1]


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("kind", KIND_SETTINGS)
def test_every_damaged_file_is_refused(kind: str, indexes: dict[str, Path], tmp_path: Path):
    folder = tmp_path / "i"
    shutil.copytree(indexes[kind], folder)
    files = sorted(
        path for path in folder.rglob("*") if path.name in (*REQUIRED_FILES, STRUCTURE_FILE)
    )
    random = np.random.default_rng(len(kind))
    opened(folder)
    before = peak_bytes()
    for number in range(DAMAGED // len(KIND_SETTINGS)):
        file = files[number % len(files)]
        intact = file.read_bytes()
        damaged = DAMAGES[number % len(DAMAGES)](intact, random)
        if damaged == intact:
            continue
        file.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            opened(folder)
        file.write_bytes(intact)
    opened(folder)
    assert peak_bytes() - before < 200_000_000


@pytest.mark.parametrize("kind", KIND_SETTINGS)
def test_damage_with_the_right_checksum_is_refused_or_does_no_harm(
    kind: str, indexes: dict[str, Path], tmp_path: Path
):
    """As by someone who writes the manifest too: no crash, no blow-up, an error or an answer."""
    folder = tmp_path / "i"
    shutil.copytree(indexes[kind], folder)
    files = sorted(
        path for path in folder.rglob("*") if path.name in (*REQUIRED_FILES, STRUCTURE_FILE)
    )
    manifest = (folder / MANIFEST_FILE).read_text()
    random = np.random.default_rng(1)
    before = peak_bytes()
    refused = 0
    for number in range(24):
        file = files[number % len(files)]
        intact = file.read_bytes()
        damage = (truncated, huge_number, noise)[number % 3]
        file.write_bytes(damage(intact, random))
        content = json.loads(manifest)
        content["segments"][0]["files"][f"seg-000001/{file.name}"] = sha256(file)
        write_with_checksum(folder / MANIFEST_FILE, content)
        try:
            index = opened(folder)
            index.paths([0])
        except IntegrityError:
            refused += 1
        file.write_bytes(intact)
    assert refused >= 12
    assert peak_bytes() - before < 300_000_000


def test_another_indexs_structure_is_refused_though_its_checksum_is_right(
    indexes: dict[str, Path], tmp_path: Path
):
    folder = tmp_path / "i"
    shutil.copytree(indexes["ivf"], folder)
    file = folder / "seg-000001" / STRUCTURE_FILE
    for other, words in [
        (faiss.IndexFlatIP(8), "holds 0 vectors of 8"),
        (faiss.index_factory(24, "Flat", faiss.METRIC_L2), "holds 0 vectors of 24"),
        (_filled(faiss.METRIC_L2), "inner product; build the index again"),
    ]:
        faiss.write_index(other, str(file))
        content = json.loads((folder / MANIFEST_FILE).read_text())
        content["segments"][0]["files"][f"seg-000001/{STRUCTURE_FILE}"] = sha256(file)
        write_with_checksum(folder / MANIFEST_FILE, content)
        with pytest.raises(IntegrityError, match=words):
            opened(folder)


def _filled(metric: int):
    index = faiss.index_factory(24, "Flat", metric)
    index.add(unit_vectors(800))
    return index


def test_a_large_file_is_read_once_and_again_when_it_changes(
    indexes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "i"
    shutil.copytree(indexes["flat"], folder)
    monkeypatch.setattr("fgembed.index.format.checksum_cache.MIN_CACHED_BYTES", 1000)
    opened(folder)
    assert not (folder / PROVED_FILE).exists()  # written a moment ago, and perhaps once more
    monkeypatch.setattr("fgembed.index.format.checksum_cache.SETTLED_NS", 20_000_000)
    time.sleep(0.03)
    opened(folder)
    read: list[str] = []

    def counting(folder: Path, files: dict[str, str], kind: str) -> None:
        read.extend(files)
        check_files(folder, files, kind)

    monkeypatch.setattr("fgembed.index.format.checksum_cache.check_files", counting)
    opened(folder)
    assert read == []
    file = folder / "seg-000001" / "vectors.npy"
    times = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # hides the change, but for ctime
    with pytest.raises(IntegrityError, match=r"vectors.npy differs"):
        opened(folder)
    assert Manifest.read(folder).count == 800
