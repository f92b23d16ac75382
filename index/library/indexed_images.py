"""The images of an index by path, with the state of their files when they were embedded."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from fgembed.disk.file_state import FileState
from fgembed.index.format.metadata_table import all_items
from fgembed.index.search.open_index import IndexedVectors


@dataclass(frozen=True, slots=True)
class IndexedImage:
    """An item's id and path, and its image file as it was when it was embedded.

    Checksum, size and times are None for an imported embedding, whose image was not read. The time
    of the status change is None in an index of an earlier release, too.
    """

    id: int
    path: str
    sha256: str | None
    size: int | None
    mtime_ns: int | None
    ctime_ns: int | None

    def looks_unchanged(self, state: FileState) -> bool:
        """Whether a file in this state probably has the content that was embedded."""
        same_status = self.ctime_ns is None or self.ctime_ns == state.ctime_ns
        return self.size == state.size and self.mtime_ns == state.mtime_ns and same_status


def indexed_images(vectors: IndexedVectors) -> dict[str, list[IndexedImage]]:
    """The live items by absolute image path; imported embeddings may share a path."""
    images: dict[str, list[IndexedImage]] = {}
    for image in _live_images(vectors):
        images.setdefault(image.path, []).append(image)
    return images


def _live_images(vectors: IndexedVectors) -> Iterator[IndexedImage]:
    for segment in vectors.segments:
        root = segment.entry.root.rstrip(os.sep)
        for position, item in enumerate(all_items(segment.connection)):
            if segment.live is None or segment.live[position]:
                yield IndexedImage(
                    id=item.id,
                    path=f"{root}/{item.path}",
                    sha256=item.sha256,
                    size=item.size,
                    mtime_ns=item.mtime_ns,
                    ctime_ns=item.ctime_ns,
                )


def is_below(path: str, folder: str) -> bool:
    """Whether an absolute path is `folder` itself or lies below it.

    Example:
        >>> is_below("/photos/a/1.jpg", "/photos/a"), is_below("/photos/ab.jpg", "/photos/a")
        (True, False)
    """
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
