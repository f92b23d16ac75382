"""What an index holds already: its live items by picture, and its vectors as parts to merge."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fgembed.index.assemble import Part, Source
from fgembed.index.columns import folded
from fgembed.index.items import Item, all_items, read_items
from fgembed.index.segment import OpenSegment
from fgembed.index.vectors import IndexedVectors
from fgembed.metrics import Ids, Vectors

ROWS_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Known:
    """An indexed picture, as its file was."""

    id: int
    sha256: str | None
    size: int | None
    mtime_ns: int | None


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
        found = read_items(self.segment.base, ids)
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


def live_items(vectors: IndexedVectors) -> dict[str, list[Known]]:
    """Every picture that a search can find, by its absolute path; a list may name one twice."""
    found: dict[str, list[Known]] = {}
    for path, known in _live_items(vectors):
        found.setdefault(path, []).append(known)
    return found


def _live_items(vectors: IndexedVectors) -> Iterator[tuple[str, Known]]:
    for segment in vectors.segments:
        root = segment.entry.root
        for position, item in enumerate(all_items(segment.base)):
            if segment.live is None or segment.live[position]:
                known = Known(item.id, item.sha256, item.size, item.mtime_ns)
                yield str(Path(root, item.path)), known


def is_below(name: str, place: str) -> bool:
    """Whether a picture is a path or lies below it, both absolute."""
    return name == place or name.startswith(place.rstrip(os.sep) + os.sep)
