"""An index as a data set for ann-benchmarks."""

from pathlib import Path

import faiss
import numpy as np

from fgembed.disk.files import atomic_write
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import FgembedError, MissingExtraError
from fgembed.index.changes.live_rows import ROWS_AT_ONCE
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.segments.vector_file import merge

NEIGHBOURS = 100


def export_hdf5(
    folder: Path, out: Path, queries: int, overwrite: bool = False, seed: int = 0
) -> int:
    """Writes vectors as an ann-benchmarks data set: `train`, `test`, `neighbors`, `distances`.

    Some vectors are held out as `test`; the rest is `train`. Neighbours are exact, distances are
    1 - cosine, as ann-benchmarks has them for `angular`. Gives the number of queries.

    Raises:
        MissingExtraError: h5py is not installed.
        FgembedError: the index holds too few vectors, or `out` is there already.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("HDF5", "h5py", "scale") from None
    if out.exists() and not overwrite:
        raise FgembedError(f"{out} is there already", "choose another file, or give --overwrite")
    vectors = open_vectors(folder)
    everyone = np.sort(vectors.live_ids())
    if len(everyone) < 2:
        raise FgembedError(f"{folder} holds {len(everyone)} vectors, too few for a data set")
    count = min(queries, len(everyone) // 2)
    test = np.random.default_rng(seed).choice(len(everyone), count, replace=False)
    train = np.delete(np.arange(len(everyone)), test)
    asked = vectors.reconstruct(everyone[test])
    k = min(NEIGHBOURS, len(train))
    best: tuple[Vectors, Ids] = (
        np.full((count, k), -np.inf, np.float32),
        np.full((count, k), -1, np.int64),
    )
    with atomic_write(out) as stream, h5py.File(stream, "w") as file:
        shape = (len(train), vectors.manifest.dimensions)
        rows = file.create_dataset("train", shape, np.float32)
        for start in range(0, len(train), ROWS_AT_ONCE):
            some = vectors.reconstruct(everyone[train[start : start + ROWS_AT_ONCE]])
            rows[start : start + len(some)] = some
            scores, places = faiss.knn(asked, some, min(k, len(some)), faiss.METRIC_INNER_PRODUCT)
            best = merge([best, (scores, places + start)], k)
        file["test"] = asked
        file["neighbors"] = best[1].astype(np.int32)
        file["distances"] = 1 - best[0]
        file.attrs["distance"] = "angular"
        file.attrs["dimension"] = shape[1]
    return count
