"""Small indexes of drawn vectors, without pictures or a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.metadata_table import Item
from fgembed.index.format.publishing import only_writer, publish
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.segments.segment_builder import IndexSettings, Source, assemble

# Every kind, and a FAISS factory string with a transform.
WISHES = {
    "flat": IndexSettings("flat"),
    "flat-half": IndexSettings("flat", "float16"),
    "ivf": IndexSettings("ivf"),
    "ivf-half": IndexSettings("ivf", "float16"),
    "ivfpq": IndexSettings("ivfpq"),
    "hnsw": IndexSettings("hnsw"),
    "hnsw-half": IndexSettings("hnsw", "float16"),
    "rabitq": IndexSettings("rabitq"),
    "factory": IndexSettings("PCA12,IVF4,SQ8"),
    "auto": IndexSettings(),
}
EVERYTHING = {"nprobe": 10**6, "efSearch": 10**5, "k_factor": 10**6}


@dataclass(frozen=True)
class Drawn:
    """Vectors with ids, and a label each."""

    drawn: np.ndarray
    ids: Sequence[int]
    labels: Sequence[str | None]

    def vectors(self) -> np.ndarray:
        return self.drawn

    def items(self) -> list[Item]:
        return [
            Item(number, f"{number}.jpg", None, None, None, (label, number % 7))
            for number, label in zip(self.ids, self.labels, strict=True)
        ]


COLUMNS = {"label": "TEXT", "year": "INTEGER"}


def unit_vectors(count: int, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    """Clustered, as embeddings are; each seed draws from the same clusters."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(30, dimensions))
    vectors = centres[generator.integers(0, 30, count)] + 0.5 * generator.normal(
        size=(count, dimensions)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)


def drawn(vectors: np.ndarray, first: int = 0) -> Drawn:
    ids = range(first, first + len(vectors))
    return Drawn(vectors, ids, [f"label {number % 3}" for number in ids])


def make_index(
    folder: Path, vectors: np.ndarray, settings: IndexSettings, part: Drawn | None = None
) -> IndexedVectors:
    """An index whose ids count from 0."""
    count, dimensions = vectors.shape
    with only_writer(folder, new=True):
        source = Source([part or drawn(vectors)], count, dimensions, "/pictures", COLUMNS)
        segment = assemble(folder, source, settings)
        store = settings.stored(count, dimensions)
        manifest = Manifest(
            None, dimensions, count, settings.kind, store, settings.recall_target,
            settings.memory_bytes, count,
            [segment.root], None, [segment],
        )  # fmt: skip
        publish(folder, manifest)
    return open_index(folder)


def open_index(folder: Path) -> IndexedVectors:
    return IndexedVectors(folder, Manifest.read(folder))


def write_embeddings(
    folder: Path, parts: list[np.ndarray], columns: dict[str, Any] | None = None
) -> Path:
    """As clip-retrieval lays embeddings out."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    start = 0
    for number, rows in enumerate(parts):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", rows)
        if columns is not None:
            some = {name: values[start : start + len(rows)] for name, values in columns.items()}
            file = folder / "metadata" / f"metadata_{number}.parquet"
            pyarrow.parquet.write_table(pyarrow.table(some), file)
        start += len(rows)
    return folder


def write_drawn(folder: Path, vectors: np.ndarray, first: int) -> ImportedEmbeddings:
    """Drawn embeddings on disk, with the items that `drawn` gives the ids from `first` on."""
    items = drawn(vectors, first).items()
    columns = {"image_path": [f"/pictures/new/{item.path}" for item in items]}
    values = zip(*(item.values for item in items), strict=True)
    columns |= dict(zip(COLUMNS, map(list, values), strict=True))
    return ImportedEmbeddings.open(write_embeddings(folder, [vectors], columns))


def exact(queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray, k: int):
    """Scores and ids of the k best by numpy alone."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), ids[order]


def assert_same_hits(found, expected, scores: np.ndarray, tolerance: float) -> None:
    """Scores are equal by rank, and each id has the score that numpy gives it.

    Args:
        found: scores and ids of a search.
        expected: scores and ids of exact search.
        scores: of every query and id, as a dense array.
        tolerance: of a score.
    """
    np.testing.assert_allclose(found[0], expected[0], atol=tolerance)
    for row, ids in enumerate(found[1]):
        assert len(set(ids.tolist())) == len(ids)
        np.testing.assert_allclose(scores[row, ids], found[0][row], atol=tolerance)


def indexed_ids(folder: Path) -> dict[Path, int]:
    """The id of every live item by its image path."""
    index = open_index(folder)
    paths = index.paths(index.live_ids().tolist())
    return {path: id_ for id_, path in paths.items()}
