"""The index on disk, open for search: FAISS for the vectors, SQLite for what belongs to an id."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fgembed.cores import core_count
from fgembed.index import kinds
from fgembed.index.manifest import Manifest
from fgembed.index.segment import open_items, open_vectors, read_items
from fgembed.metrics import Ids, Vectors


class IndexedVectors:
    """All segments of an index as one."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Opens every segment.

        Raises:
            IntegrityError: a file is damaged or missing.
        """
        self.folder = folder
        self.manifest = manifest
        self._segments = [
            (s, open_vectors(folder, s, manifest), open_items(folder, s)) for s in manifest.segments
        ]

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Scores and ids, (Q, k) each, by falling score; id -1 where fewer were found."""
        # Waking a second thread costs more than one query takes.
        faiss.omp_set_num_threads(1 if len(queries) == 1 else core_count())
        parts = [self._search_segment(index, queries, k) for _, index, _ in self._segments]
        scores, ids = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)

    def reconstruct(self, ids: Ids) -> Vectors:
        """The vectors (N, D) of ids (N,) that a search has given."""
        found = np.empty((len(ids), self.manifest.dimensions), np.float32)
        for _, index, base in self._segments:
            here = np.isin(ids, list(read_items(base, ids.tolist())))
            found[here] = kinds.reconstruct(index, ids[here])
        return found

    def paths(self, ids: Sequence[int]) -> dict[int, Path]:
        """The picture of each id."""
        found: dict[int, Path] = {}
        for segment, _, base in self._segments:
            items = read_items(base, ids)
            found |= {number: Path(segment.root, item.path) for number, item in items.items()}
        return found

    def _search_segment(self, index: Any, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        return kinds.search(index, queries, k, self.manifest.parameters)
