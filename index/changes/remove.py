"""Removes items from an index: by id, by image path, or by an SQL condition."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fgembed.disk.files import absolute
from fgembed.embedding.array_types import Ids
from fgembed.errors import NotFoundError
from fgembed.index.changes.transaction import ChangeReport, Transaction
from fgembed.index.format.publishing import only_writer
from fgembed.index.library.indexed_folders import IndexedFolders
from fgembed.index.library.indexed_images import indexed_images, is_below
from fgembed.text import composed


def remove_ids(folder: Path, ids: Ids) -> ChangeReport:
    """Removes the items with the ids (N,): searches no longer find them.

    Raises:
        NotFoundError: there is no index, or an id is not in it.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        return _remove(Transaction.begin(folder), np.unique(ids))


def remove_paths(folder: Path, paths: Sequence[Path]) -> ChangeReport:
    """Removes the items of images, or of all images below folders; files are not touched.

    Raises:
        NotFoundError: there is no index, or none of its images is or lies below one of the paths.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        change = Transaction.begin(folder)
        indexed = indexed_images(change.vectors)
        folders = IndexedFolders(indexed, change.manifest.roots)
        ids: list[int] = []
        for path in paths:
            parent = str(folders.folder(absolute(path)))
            alike = composed(parent)
            below = [
                item.id
                for name in indexed
                if is_below(composed(name), alike)
                for item in indexed[name]
            ]
            if not below:
                raise NotFoundError(
                    f"{folder} holds no image at or below {parent}",
                    'give a path below one of the folders that "fgembed index info" lists',
                )
            ids += below
        return _remove(change, np.unique(np.array(ids, np.int64)))


def remove_where(folder: Path, condition: str) -> ChangeReport:
    """Removes the items that meet an SQL condition, such as `year < 2015`.

    Raises:
        NotFoundError: there is no index.
        FgembedError: the condition is not valid, or another process is writing the index.
    """
    with only_writer(folder):
        change = Transaction.begin(folder)
        return _remove(change, change.vectors.ids_where(condition))


def _remove(change: Transaction, ids: Ids) -> ChangeReport:
    missing = np.setdiff1d(ids, change.vectors.live_ids())
    if len(missing):
        raise NotFoundError(
            f"{change.folder} holds no item with id {missing[0]}",
            'take the ids from the output of "fgembed search --json"',
        )
    manifest = change.manifest
    if len(ids):
        manifest = change.commit([], ids)
    return ChangeReport(manifest, removed=len(ids))
