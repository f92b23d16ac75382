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
    """The manifest, and what `opener` makes of it once every file is proved.

    A writer removes what its new manifest does not name, perhaps between our reading of the
    manifest and of the files. Then the manifest has changed, and we begin again.

    Raises:
        NotFoundError: there is no index.
        IntegrityError: it is damaged.
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
    """The index, proved and open for search; its `manifest` says which state it is.

    Raises:
        NotFoundError: there is no index.
        IntegrityError: it is damaged.
    """
    return open_state(folder, lambda manifest: IndexedVectors(folder, manifest))[1]
