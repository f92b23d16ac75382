"""The images that an index holds, by path."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fgembed.index.format.metadata_table import all_items
from fgembed.index.search.open_index import IndexedVectors


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """An indexed picture, as its file was."""

    id: int
    sha256: str | None
    size: int | None
    mtime_ns: int | None


def indexed_images(vectors: IndexedVectors) -> dict[str, list[IndexedImage]]:
    """Every picture that a search can find, by its absolute path; a list may name one twice."""
    found: dict[str, list[IndexedImage]] = {}
    for path, known in _indexed_images(vectors):
        found.setdefault(path, []).append(known)
    return found


def _indexed_images(vectors: IndexedVectors) -> Iterator[tuple[str, IndexedImage]]:
    for segment in vectors.segments:
        root = segment.entry.root
        for position, item in enumerate(all_items(segment.connection)):
            if segment.live is None or segment.live[position]:
                known = IndexedImage(item.id, item.sha256, item.size, item.mtime_ns)
                yield str(Path(root, item.path)), known


def is_below(name: str, place: str) -> bool:
    """Whether a picture is a path or lies below it, both absolute."""
    return name == place or name.startswith(place.rstrip(os.sep) + os.sep)
