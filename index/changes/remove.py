"""Takes pictures out of what an index finds: by id, by path, or by an SQL condition."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fgembed.disk.files import absolute
from fgembed.embedding.array_types import Ids
from fgembed.errors import NotFoundError
from fgembed.index.changes.indexed_images import indexed_images, is_below
from fgembed.index.changes.transaction import ChangeReport, OpenChange
from fgembed.index.format.publishing import only_writer


def remove_ids(folder: Path, ids: Ids) -> ChangeReport:
    """Takes the ids (N,) out of what a search finds.

    Raises:
        NotFoundError: an id is not in the index.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        return _removed(OpenChange.begin(folder), np.unique(ids))


def remove_paths(folder: Path, paths: Sequence[Path]) -> ChangeReport:
    """Takes pictures, or all pictures below folders, out of what a search finds.

    Raises:
        NotFoundError: none of the index's pictures is such a path or lies below it.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        change = OpenChange.begin(folder)
        known = indexed_images(change.vectors)
        ids: list[int] = []
        for path in paths:
            place = str(absolute(path))
            below = [one.id for name in known if is_below(name, place) for one in known[name]]
            if not below:
                raise NotFoundError(f"{folder} holds no picture at or below {place}")
            ids += below
        return _removed(change, np.unique(np.array(ids, np.int64)))


def remove_where(folder: Path, condition: str) -> ChangeReport:
    """Takes the items for which an SQL condition holds out of what a search finds.

    Raises:
        FgembedError: the condition cannot be asked, or another process is writing the index.
    """
    with only_writer(folder):
        change = OpenChange.begin(folder)
        return _removed(change, change.vectors.ids_where(condition))


def _removed(change: OpenChange, ids: Ids) -> ChangeReport:
    live = change.vectors.live_ids()
    unknown = np.setdiff1d(ids, live)
    if len(unknown):
        raise NotFoundError(f"{change.folder} holds no picture with id {unknown[0]}")
    manifest = change.manifest
    if len(ids):
        manifest = change.end([], ids)
    return ChangeReport(manifest, removed=len(ids))
