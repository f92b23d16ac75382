"""The images of an index by path, with the state of their files when they were embedded."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fgembed.index.format.metadata_table import all_items
from fgembed.index.search.open_index import IndexedVectors


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """An item's id, and its image file as it was when it was embedded.

    Checksum, size and time are None for an imported embedding, whose image was not read.
    """

    id: int
    sha256: str | None
    size: int | None
    mtime_ns: int | None


def indexed_images(vectors: IndexedVectors) -> dict[str, list[IndexedImage]]:
    """The live items by absolute image path; a path that was listed twice has two."""
    images: dict[str, list[IndexedImage]] = {}
    for path, image in _live_images(vectors):
        images.setdefault(path, []).append(image)
    return images


def _live_images(vectors: IndexedVectors) -> Iterator[tuple[str, IndexedImage]]:
    for segment in vectors.segments:
        root = segment.entry.root
        for position, item in enumerate(all_items(segment.connection)):
            if segment.live is None or segment.live[position]:
                image = IndexedImage(item.id, item.sha256, item.size, item.mtime_ns)
                yield str(Path(root, item.path)), image


def is_below(path: str, folder: str) -> bool:
    """Whether an absolute path is `folder` itself or lies below it.

    Example:
        >>> is_below("/photos/a/1.jpg", "/photos/a"), is_below("/photos/ab.jpg", "/photos/a")
        (True, False)
    """
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
