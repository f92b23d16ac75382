"""The live rows of an index as the source of another segment or an export."""

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
    """B rows of an open segment.

    Attributes:
        segment: holds the rows.
        positions: (B,) rows of the segment.
        root: the folder that the items' paths become relative to.
        columns: metadata columns that each item gets, with SQL types.
    """

    segment: OpenSegment
    positions: Ids
    root: str
    columns: dict[str, str]

    def vectors(self) -> Vectors:
        """(B, D) float32."""
        return self.segment.rows.take(self.positions)

    def items(self) -> list[Item]:
        """B items; a column that the segment lacks is None."""
        ids = self.segment.ids[self.positions].tolist()
        stored = read_items(self.segment.connection, ids)
        segment_columns = [folded(name) for name in self.segment.entry.columns]
        root = self.segment.entry.root
        items = []
        for item in map(stored.__getitem__, ids):
            values = dict(zip(segment_columns, item.values, strict=True))
            path = item.path
            if root != self.root:
                path = Path(os.path.relpath(Path(root, path), self.root)).as_posix()
            row = tuple(values.get(folded(name)) for name in self.columns)
            items.append(replace(item, path=path, values=row))
        return items


def live_source(vectors: IndexedVectors) -> Source:
    """All live rows of an index that has segments, by rising id within each segment.

    Their root is the common folder of all segments' roots, their columns are those of the index.
    """
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
    return Source(
        parts=parts,
        count=vectors.manifest.count,
        dimensions=vectors.manifest.dimensions,
        root=root,
        columns=columns,
    )
