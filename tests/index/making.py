"""Small indexes of random vectors, without images or a model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
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
KIND_SETTINGS = {
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
# Search parameters with which every structure compares every vector.
EXHAUSTIVE = {"nprobe": 10**6, "efSearch": 10**5, "k_factor": 10**6}


@dataclass(frozen=True)
class RandomPart:
    """Vectors with ids and labels, as a `Part` of an index."""

    array: np.ndarray
    ids: Sequence[int]
    labels: Sequence[str | None]

    def vectors(self) -> np.ndarray:
        return self.array

    def items(self) -> list[Item]:
        return [
            Item(number, f"{number}.jpg", values=(label, number % 7))
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


def scattered_vectors(count: int, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    """Evenly spread, so that the neighbours of most queries lie in several lists."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)


def random_part(vectors: np.ndarray, first: int = 0) -> RandomPart:
    ids = range(first, first + len(vectors))
    return RandomPart(vectors, ids, [f"label {number % 3}" for number in ids])


def make_index(
    folder: Path, vectors: np.ndarray, settings: IndexSettings, part: RandomPart | None = None
) -> IndexedVectors:
    """An index whose ids count from 0."""
    count, dimensions = vectors.shape
    with only_writer(folder, new=True):
        source = Source(
            parts=[part or random_part(vectors)],
            count=count,
            dimensions=dimensions,
            root="/images",
            columns=COLUMNS,
        )
        segment = assemble(folder, source, settings)
        store = settings.store_for(count, dimensions)
        manifest = Manifest(
            model=None,
            dimensions=dimensions,
            count=count,
            kind=settings.kind,
            store=store,
            recall=settings.recall_target,
            memory=settings.memory_bytes,
            next_id=count,
            roots=[segment.root],
            segments=[segment],
        )
        publish(folder, manifest)
    return open_index(folder)


def open_index(folder: Path) -> IndexedVectors:
    return IndexedVectors(folder, Manifest.read(folder))


def write_embeddings(
    folder: Path, parts: list[np.ndarray], columns: dict[str, Any] | None = None
) -> Path:
    """Writes embeddings in the layout of clip-retrieval."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    start = 0
    for number, rows in enumerate(parts):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", rows)
        if columns is not None:
            chunk = {name: values[start : start + len(rows)] for name, values in columns.items()}
            file = folder / "metadata" / f"metadata_{number}.parquet"
            pyarrow.parquet.write_table(pyarrow.table(chunk), file)
        start += len(rows)
    return folder


def write_random(folder: Path, vectors: np.ndarray, first: int) -> ImportedEmbeddings:
    """Embeddings on disk, with the metadata that `random_part` gives the ids from `first` on."""
    items = random_part(vectors, first).items()
    columns = {"image_path": [f"/images/new/{item.path}" for item in items]}
    values = zip(*(item.values for item in items), strict=True)
    columns |= dict(zip(COLUMNS, map(list, values), strict=True))
    return ImportedEmbeddings.open(write_embeddings(folder, [vectors], columns))


def exact(queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray, k: int):
    """Scores and ids of the k best by numpy alone."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), ids[order]


@dataclass(frozen=True)
class ProbedGallery:
    """The search of an inverted file by numpy alone: of the nprobe lists nearest to a query.

    Attributes:
        vectors: (N, D), whose positions are their ids.
        centroids: of the lists (lists, D).
        list_of: the list of each vector (N,).
        nprobe: lists that a search visits.
    """

    vectors: np.ndarray
    centroids: np.ndarray
    list_of: np.ndarray
    nprobe: int

    @classmethod
    def of(cls, index: IndexedVectors, nprobe: int) -> "ProbedGallery":
        """The lists of an index with one segment whose kind is `ivf`."""
        (segment,) = index.segments
        assert segment.structure is not None
        inverted = segment.structure.faiss_index
        list_of = np.empty(len(segment.rows), np.int64)
        for number in range(inverted.nlist):
            size = inverted.invlists.list_size(number)
            positions = faiss.rev_swig_ptr(inverted.invlists.get_ids(number), size)
            list_of[segment.ids[positions]] = number
        vectors = index.reconstruct(np.arange(len(segment.rows)))
        return cls(vectors, segment.structure.centroids, list_of, nprobe)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and ids (Q, k); the lists must hold as many vectors."""
        lists = np.argsort(-queries @ self.centroids.T, axis=1)[:, : self.nprobe]
        probed = (self.list_of[None, :, None] == lists[:, None, :]).any(axis=2)
        assert probed.sum(axis=1).min() >= k
        scores = np.where(probed, queries @ self.vectors.T, -np.inf)
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, ids, axis=1), ids

    def reconstruct(self, ids: np.ndarray) -> np.ndarray:
        return np.take(self.vectors, ids, axis=0)


def set_nprobe(folder: Path, nprobe: int) -> None:
    """Writes another nprobe into the manifest of an index with one segment."""
    manifest = Manifest.read(folder)
    (segment,) = manifest.segments
    assert "nprobe" in segment.parameters
    parameters = segment.parameters | {"nprobe": nprobe}
    replace(manifest, segments=[replace(segment, parameters=parameters)]).write(folder)


def assert_same_hits(result, expected, scores: np.ndarray, tolerance: float) -> None:
    """Scores are equal by rank, and each id has the score that numpy gives it.

    Args:
        result: scores and ids of a search.
        expected: scores and ids of exact search.
        scores: of every query and id, as a dense array.
        tolerance: of a score.
    """
    np.testing.assert_allclose(result[0], expected[0], atol=tolerance)
    for row, ids in enumerate(result[1]):
        assert len(set(ids.tolist())) == len(ids)
        np.testing.assert_allclose(scores[row, ids], result[0][row], atol=tolerance)


def indexed_ids(folder: Path) -> dict[Path, int]:
    """The id of every live item by its image path."""
    index = open_index(folder)
    paths = index.paths(index.live_ids().tolist())
    return {path: id_ for id_, path in paths.items()}
