"""Publishes changes of an index: one writer, all files first, the manifest last."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fgembed.disk.files import atomic_write, sha256
from fgembed.disk.foreign import refuse_foreign
from fgembed.disk.locks import sole_writer
from fgembed.embedding.array_types import Ids
from fgembed.index.format.free_names import next_name
from fgembed.index.format.manifest import (
    ENTRY_PATTERNS,
    ITEMS_FILE,
    MANIFEST_FILE,
    MODEL_TYPE,
    PENDING_FOLDER,
    REMOVED_PATTERN,
    REQUIRED_FILES,
    SEGMENT_PATTERN,
    STRUCTURE_FILE,
    Manifest,
    Removed,
    Segment,
)

INSIDE = {  # what the folders of an index hold
    SEGMENT_PATTERN: (*REQUIRED_FILES, STRUCTURE_FILE, f"{ITEMS_FILE}-*", ".*.tmp-*"),
    PENDING_FOLDER: ("*.npy", "*.json", "*.skipped.jsonl", ".*.tmp-*"),
}


@contextmanager
def only_writer(folder: Path, new: bool = False) -> Iterator[None]:
    """Within the block no other process writes the index; readers go on.

    Args:
        folder: the index.
        new: the index need not exist yet.

    Raises:
        NotFoundError: there is no index.
        InUseError: another process is writing it.
        FgembedError: `folder` holds something else, or its disk has no locks.
    """
    refuse_foreign(folder, ENTRY_PATTERNS, "an index", (MANIFEST_FILE, MODEL_TYPE), INSIDE)
    if not new:
        Manifest.read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder):
        yield


def publish(folder: Path, manifest: Manifest) -> Manifest:
    """Makes `manifest` the index, then removes what it does not name.

    A reader of the previous index keeps its files open; a reader that is just opening it starts
    again.
    """
    manifest.write(folder)
    sweep(folder, manifest)
    return manifest


def sweep(folder: Path, manifest: Manifest) -> None:
    """Removes the segments, files of removed ids and cached embeddings that are not in use."""
    in_use = {segment.name for segment in manifest.segments}
    if manifest.removed:
        in_use.add(manifest.removed.file)
    for path in [*folder.glob(SEGMENT_PATTERN), *folder.glob(REMOVED_PATTERN)]:
        if path.name not in in_use:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    shutil.rmtree(folder / PENDING_FOLDER, ignore_errors=True)


def changed_manifest(
    folder: Path,
    manifest: Manifest,
    segments: Sequence[Segment],
    removed: Ids,
    next_id: int,
    new_root: str | None = None,
) -> Manifest:
    """The manifest of the same index with other segments and removed ids (N,).

    Writes the file of the removed ids.

    Raises:
        OSError: that file cannot be written, as on a full disk.
    """
    entry = None
    if len(removed):
        name = next_name(folder, "removed-", ".npy")
        with atomic_write(folder / name) as file:
            np.save(file, np.unique(removed))
        entry = Removed(name, len(removed), sha256(folder / name))
    roots = [*manifest.roots]
    if new_root is not None and new_root not in roots:
        roots.append(new_root)
    count = sum(segment.count for segment in segments) - len(removed)
    return replace(
        manifest, segments=list(segments), removed=entry, next_id=next_id, count=count, roots=roots
    )
