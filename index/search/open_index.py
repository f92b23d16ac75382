"""The index on disk, open for search: all its segments as one."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fgembed.cores import core_count
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import FgembedError
from fgembed.index.format.manifest import Manifest, Removed
from fgembed.index.format.metadata_columns import folded
from fgembed.index.format.metadata_table import Item, positions_where, read_items
from fgembed.index.format.npy_files import read_ids
from fgembed.index.segments.faiss_index import Mask, Parameters
from fgembed.index.segments.faiss_memory import faiss_threads
from fgembed.index.segments.segment import OpenSegment
from fgembed.index.segments.vector_file import merge

CACHED_FILTERS = 16


class IndexedVectors:
    """Vectors by cosine and by id."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Opens every segment; `check_index_files` must have read their files before.

        Raises:
            IntegrityError: a file is not what the manifest says.
        """
        self.folder = folder
        self.manifest = manifest
        removed = removed_ids(folder, manifest.removed)
        self.segments = [
            OpenSegment.open(folder, part, manifest.dimensions, removed)
            for part in manifest.segments
        ]
        self._filters: dict[str, list[Mask]] = {}
        self._tables = threading.RLock()  # a condition's rights hold for its whole connection

    def search(
        self,
        queries: Vectors,
        k: int,
        where: str | None = None,
        parameters: Parameters | None = None,
    ) -> tuple[Vectors, Ids]:
        """Scores and ids, (Q, k) each, by falling score; id -1 where there are fewer.

        Args:
            queries: unit vectors (Q, D).
            k: how many.
            where: an SQL condition on the items; only those that meet it are found.
            parameters: in place of the tuned ones.

        Raises:
            FgembedError: the condition cannot be asked, or queries have another dimension.
        """
        if queries.shape[1:] != (self.manifest.dimensions,):
            raise FgembedError(
                f"queries of shape {queries.shape} for an index of "
                f"{self.manifest.dimensions} dimensions"
            )
        queries = np.ascontiguousarray(queries, np.float32)
        allowed = self._allowed(where) if where is not None else [None] * len(self.segments)
        # Waking a second thread costs more than one query takes.
        with faiss_threads(1 if len(queries) == 1 else core_count()):
            parts = [
                segment.search(queries, k, mask, parameters)
                for segment, mask in zip(self.segments, allowed, strict=True)
            ]
        if len(parts) == 1:
            return parts[0]
        nothing = (np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1))
        return merge(parts or [nothing], k)

    def reconstruct(self, ids: Ids) -> Vectors:
        """The vectors (N, D) of ids (N,) that a search has given."""
        found = np.empty((len(ids), self.manifest.dimensions), np.float32)
        with self._tables:
            for segment in self.segments:
                here, vectors = segment.take(ids)
                found[here] = vectors
        return found

    def items(self, ids: Sequence[int]) -> dict[int, tuple[Path, Item, list[str]]]:
        """The picture, the item and the names of its values, of each id."""
        found: dict[int, tuple[Path, Item, list[str]]] = {}
        spelt = {folded(name): name for name in self.manifest.columns}
        with self._tables:
            for segment in self.segments:
                entry = segment.entry
                names = [spelt[folded(name)] for name in entry.columns]
                for number, item in read_items(segment.connection, ids).items():
                    found[number] = (Path(entry.root, item.path), item, names)
        return found

    def paths(self, ids: Sequence[int]) -> dict[int, Path]:
        """The picture of each id."""
        return {number: path for number, (path, _, _) in self.items(ids).items()}

    def ids_where(self, condition: str) -> Ids:
        """The ids of the items for which an SQL condition holds.

        Raises:
            FgembedError: the condition cannot be asked.
        """
        masks = self._allowed(condition)
        pairs = zip(self.segments, masks, strict=True)
        return np.concatenate([[], *(s.ids[mask] for s, mask in pairs)]).astype(np.int64)

    def live_ids(self) -> Ids:
        """Every id that a search can find."""
        parts = [s.ids if s.live is None else s.ids[s.live] for s in self.segments]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def _allowed(self, condition: str) -> list[Mask]:
        """Of each segment, which positions a condition leaves."""
        with self._tables:
            return self._asked(condition)

    def _asked(self, condition: str) -> list[Mask]:
        if condition not in self._filters:
            masks = []
            for segment in self.segments:
                mask = np.zeros(len(segment.rows), bool)
                root = segment.entry.root
                found = positions_where(segment.connection, condition, self.manifest.columns, root)
                mask[found[found < len(mask)]] = True
                masks.append(mask if segment.live is None else mask & segment.live)
            if len(self._filters) >= CACHED_FILTERS:
                del self._filters[next(iter(self._filters))]
            self._filters[condition] = masks
        return self._filters[condition]


def removed_ids(folder: Path, removed: Removed | None) -> Ids:
    """The ids that were removed and are still in segments, sorted.

    Raises:
        IntegrityError: their file holds something else.
    """
    return np.zeros(0, np.int64) if removed is None else read_ids(folder / removed.file)
