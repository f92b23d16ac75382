"""Exports an index as an HDF5 data set for ann-benchmarks."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fgembed.disk.outputs import Output
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import FgembedError, MissingExtraError
from fgembed.index.changes.live_rows import ROWS_AT_ONCE
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.segments.ordering import merge

NEIGHBOURS = 100
WRITER = "writer"
UNMARKED = {"distance", "dimension"}  # all attributes of the files of fgembed 0.1


def _is_ours(file: Path) -> bool:
    import h5py

    try:
        with h5py.File(file) as content:
            attributes = dict(content.attrs)
    except OSError:
        return False
    return attributes.get(WRITER) == "fgembed" or attributes.keys() == UNMARKED


DATA_SET = Output("a data set", (), _is_ours)


def export_hdf5(
    folder: Path, out: Path, queries: int, overwrite: bool = False, seed: int = 0
) -> int:
    """Writes `train` (N, D), `test` (Q, D), `neighbors` (Q, 100) and `distances` (Q, 100).

    A random sample of the live vectors is held out as `test`, the rest is `train`. Neighbours are
    exact. Distances are 1 - cosine, as ann-benchmarks has them for `angular`.

    Args:
        folder: the index.
        out: the HDF5 file.
        queries: Q, at most half of the vectors.
        overwrite: replace an earlier export.
        seed: of the sample.

    Returns:
        The number of queries in the file.

    Raises:
        NotFoundError: there is no index.
        MissingExtraError: h5py is not installed.
        FgembedError: the index holds fewer than two vectors, or `out` exists.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("HDF5", "h5py", "scale") from None
    if out.exists() and not overwrite:
        raise FgembedError(f"{out} exists already", "choose another file, or give --overwrite")
    DATA_SET.check(out)
    vectors = open_vectors(folder)
    ids = np.sort(vectors.live_ids())
    if len(ids) < 2:
        raise FgembedError(
            f"{folder} holds {len(ids)} vectors, too few for a data set of at least 2",
            'add images with "fgembed index add"',
        )
    count = min(queries, len(ids) // 2)
    test = np.random.default_rng(seed).choice(len(ids), count, replace=False)
    train = np.delete(np.arange(len(ids)), test)
    with DATA_SET.write(out) as stream, h5py.File(stream, "w") as file:
        file["test"] = test_vectors = vectors.reconstruct(ids[test])
        _write_train(file, vectors, ids[train], test_vectors)
        file.attrs["distance"] = "angular"
        file.attrs["dimension"] = vectors.manifest.dimensions
        file.attrs[WRITER] = "fgembed"
    return count


def _write_train(file: Any, vectors: IndexedVectors, ids: Ids, queries: Vectors) -> None:
    """Writes the vectors of ids (N,) as `train`, with the neighbours of queries (Q, D) in it."""
    k = min(NEIGHBOURS, len(ids))
    best: tuple[Vectors, Ids] = (
        np.full((len(queries), k), -np.inf, np.float32),
        np.full((len(queries), k), -1, np.int64),
    )
    rows = file.create_dataset("train", (len(ids), vectors.manifest.dimensions), np.float32)
    for start in range(0, len(ids), ROWS_AT_ONCE):
        chunk = vectors.reconstruct(ids[start : start + ROWS_AT_ONCE])
        rows[start : start + len(chunk)] = chunk
        count = min(k, len(chunk))
        scores, positions = faiss.knn(queries, chunk, count, faiss.METRIC_INNER_PRODUCT)
        best = merge([best, (scores, positions + start)], k)
    file["neighbors"] = best[1].astype(np.int32)
    file["distances"] = 1 - best[0]
