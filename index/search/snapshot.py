"""A consistent state of an index, while another process may be writing it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fgembed.errors import IntegrityError
from fgembed.index.format.checksum_cache import check_index_files
from fgembed.index.format.manifest import Manifest
from fgembed.index.search.open_index import IndexedVectors

Opened = TypeVar("Opened")
TRIES = 20


def open_state(folder: Path, opener: Callable[[Manifest], Opened]) -> tuple[Manifest, Opened]:
    """The manifest, and what `opener` makes of it once the checksum of every file is proved.

    A writer removes the files that its new manifest no longer names, perhaps after we have read
    the old manifest. The manifest has then changed, and we start again with the new one.

    Args:
        folder: the index.
        opener: opens the files of a state; called again if the state changes meanwhile.

    Raises:
        NotFoundError: there is no index.
        IntegrityError: it is damaged, or changed 20 times while it was opened.
    """
    manifest = Manifest.read(folder)
    for _ in range(TRIES):
        try:
            check_index_files(folder, manifest)
            return manifest, opener(manifest)
        except (IntegrityError, OSError):
            current = Manifest.read(folder)
            if current == manifest:
                raise
            manifest = current
    raise IntegrityError(f"index {folder} changed {TRIES} times while it was opened", "try again")


def open_vectors(folder: Path) -> IndexedVectors:
    """The index, with its checksums proved, open for search; `manifest` is the state that was read.

    Raises:
        NotFoundError: there is no index.
        IntegrityError: it is damaged.
    """
    return open_state(folder, lambda manifest: IndexedVectors(folder, manifest))[1]
