"""What an index holds already: its live items by picture, and its vectors as parts to merge."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fgembed.embedding.array_types import Ids, Vectors
from fgembed.index.format.metadata_columns import folded
from fgembed.index.format.metadata_table import Item, read_items
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.segments.segment import OpenSegment
from fgembed.index.segments.segment_builder import Part, Source

ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class StoredPart:
    """Some live rows of a segment, in the order of their ids."""

    segment: OpenSegment
    positions: Ids
    root: str
    columns: dict[str, str]

    def vectors(self) -> Vectors:
        """(B, D) float32."""
        return self.segment.rows.take(self.positions)

    def items(self) -> list[Item]:
        """B items, with their paths below the common root and a value for every column."""
        ids = self.segment.ids[self.positions].tolist()
        found = read_items(self.segment.connection, ids)
        own = [folded(name) for name in self.segment.entry.columns]
        root = self.segment.entry.root
        items = []
        for number in ids:
            item = found[number]
            values = dict(zip(own, item.values, strict=True))
            path = item.path
            if root != self.root:
                path = Path(os.path.relpath(Path(root, path), self.root)).as_posix()
            every = tuple(values.get(folded(name)) for name in self.columns)
            items.append(replace(item, path=path, values=every))
        return items


def stored(vectors: IndexedVectors) -> Source:
    """All that is live, below the root of all pictures, with the columns of all items."""
    roots = [segment.entry.root for segment in vectors.segments]
    root = os.path.commonpath(roots)
    columns = vectors.manifest.columns
    parts: list[Part] = []
    for segment in vectors.segments:
        count = len(segment.rows)
        live = np.arange(count) if segment.live is None else np.flatnonzero(segment.live)
        live = live[np.argsort(segment.ids[live])]
        for start in range(0, len(live), ROWS_AT_ONCE):
            parts.append(StoredPart(segment, live[start : start + ROWS_AT_ONCE], root, columns))
    return Source(parts, vectors.manifest.count, vectors.manifest.dimensions, root, columns)
