"""An index on disk, open for search: its segments behave as one."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fgembed.cores import core_count
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import FgembedError
from fgembed.index.format.item_conditions import positions_where
from fgembed.index.format.manifest import Manifest, Removed
from fgembed.index.format.metadata_columns import folded
from fgembed.index.format.metadata_table import Item, read_items
from fgembed.index.format.npy_files import read_ids
from fgembed.index.segments.faiss_index import Mask, Parameters
from fgembed.index.segments.faiss_memory import faiss_threads
from fgembed.index.segments.ordering import merge
from fgembed.index.segments.segment import OpenSegment

CACHED_FILTERS = 16


class IndexedVectors:
    """The live vectors and items of an open index, found by cosine, by id or by an SQL condition.

    Attributes:
        folder: the index.
        manifest: the state that is open; later changes of the index do not show.
        segments: the open segments, removed rows left out.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Opens every segment. The caller has checked the files with `check_index_files`.

        Raises:
            IntegrityError: a file does not hold what the manifest says.
        """
        self.folder = folder
        self.manifest = manifest
        removed = removed_ids(folder, manifest.removed)
        self.segments = [
            OpenSegment.open(folder, part, manifest.dimensions, removed)
            for part in manifest.segments
        ]
        self._filters: dict[str, list[Mask]] = {}
        self._tables = threading.RLock()  # a condition changes the rights of its connection

    def search(
        self,
        queries: Vectors,
        k: int,
        where: str | None = None,
        parameters: Parameters | None = None,
    ) -> tuple[Vectors, Ids]:
        """Scores and ids of the k nearest, (Q, k) each, by falling score, equal ones by rising id.

        If fewer than k items qualify, the last columns have id -1.

        Args:
            queries: unit vectors (Q, D).
            k: number of neighbours, at least 1.
            where: an SQL condition that the items must meet, such as `year > 2020`.
            parameters: search parameters that override the tuned ones, such as `nprobe`.

        Raises:
            FgembedError: the condition is not valid, or the queries have another dimension.
        """
        if queries.shape[1:] != (self.manifest.dimensions,):
            raise FgembedError(
                f"queries of shape {queries.shape} do not fit an index of "
                f"{self.manifest.dimensions} dimensions",
                f"give vectors (Q, {self.manifest.dimensions}) of the model that made the index",
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
        no_hits = (np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1))
        return merge(parts or [no_hits], k)

    def reconstruct(self, ids: Ids) -> Vectors:
        """The unit vectors (N, D) of ids (N,), as stored; every id must be in the index."""
        rows = np.empty((len(ids), self.manifest.dimensions), np.float32)
        with self._tables:
            for segment in self.segments:
                indices, vectors = segment.take(ids)
                rows[indices] = vectors
        return rows

    def items(self, ids: Sequence[int]) -> dict[int, tuple[Path, Item, list[str]]]:
        """By id: the image path (absolute), the item, and the names of its metadata columns."""
        items: dict[int, tuple[Path, Item, list[str]]] = {}
        spelt = {folded(name): name for name in self.manifest.columns}
        with self._tables:
            for segment in self.segments:
                entry = segment.entry
                names = [spelt[folded(name)] for name in entry.columns]
                for id_, item in read_items(segment.connection, ids).items():
                    items[id_] = (Path(entry.root, item.path), item, names)
        return items

    def paths(self, ids: Sequence[int]) -> dict[int, Path]:
        """The image path (absolute) of each id."""
        return {id_: path for id_, (path, _, _) in self.items(ids).items()}

    def ids_where(self, condition: str) -> Ids:
        """The ids (N,) of the live items that meet an SQL condition.

        Raises:
            FgembedError: the condition is not valid.
        """
        masks = self._allowed(condition)
        pairs = zip(self.segments, masks, strict=True)
        return np.concatenate([[], *(s.ids[mask] for s, mask in pairs)]).astype(np.int64)

    def live_ids(self) -> Ids:
        """The ids (N,) of all items that were not removed."""
        parts = [s.ids if s.live is None else s.ids[s.live] for s in self.segments]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def _allowed(self, condition: str) -> list[Mask]:
        """For each segment a mask of the live positions whose items meet a condition."""
        with self._tables:
            return self._cached_masks(condition)

    def _cached_masks(self, condition: str) -> list[Mask]:
        if condition not in self._filters:
            masks = []
            for segment in self.segments:
                mask = np.zeros(len(segment.rows), bool)
                root = segment.entry.root
                matches = positions_where(
                    segment.connection, condition, self.manifest.columns, root
                )
                mask[matches[matches < len(mask)]] = True
                masks.append(mask if segment.live is None else mask & segment.live)
            if len(self._filters) >= CACHED_FILTERS:
                del self._filters[next(iter(self._filters))]
            self._filters[condition] = masks
        return self._filters[condition]


def removed_ids(folder: Path, removed: Removed | None) -> Ids:
    """The ids (R,) that were removed and still lie in segments, sorted.

    Raises:
        IntegrityError: their file is damaged.
    """
    return np.zeros(0, np.int64) if removed is None else read_ids(folder / removed.file)
