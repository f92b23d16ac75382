"""A segment with other items: the vectors stay, the table of items is written again.

Segments are immutable, so this makes a new one. Its vectors and its structure are further names of
the same files (copies, where the disk has no hard links).
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fgembed.disk.file_state import FileState
from fgembed.disk.files import sha256
from fgembed.disk.flushing import sync
from fgembed.index.format.manifest import ITEMS_FILE, Segment
from fgembed.index.format.metadata_columns import folded, merged_columns, sql_type, sql_value
from fgembed.index.format.metadata_table import Item, all_items, write_items
from fgembed.index.segments.segment import OpenSegment, new_segment
from fgembed.text import composed


@dataclass(frozen=True)
class ItemChange:
    """What becomes of an item; its id, its vector and its other metadata stay.

    Attributes:
        path: the absolute path from now on; None keeps it.
        state: of the file, whose content is that of the item; None keeps the stored one.
        labels: the column `label` before and after: an item with the first gets the second.
    """

    path: str | None = None
    state: FileState | None = None
    labels: tuple[str | None, str | None] = (None, None)


def changed_segment(
    folder: Path, segment: OpenSegment, changes: Mapping[int, ItemChange]
) -> Segment:
    """Writes a segment with these changes, by item id, and gives its entry in the manifest.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    entry = segment.entry
    items = list(all_items(segment.connection))
    items, columns = _relabelled(items, entry.columns, changes)
    paths = [_path_of(item, changes, entry.root) for item in items]
    root = _root(paths, segment, changes)
    items = [
        _changed(item, path, root, changes.get(item.id))
        for item, path in zip(items, paths, strict=True)
    ]
    with new_segment(folder) as new:
        for name in entry.files:
            file = Path(name).name
            if file != ITEMS_FILE:
                _link_or_copy(folder / name, new / file)
        write_items(new / ITEMS_FILE, items, columns)
        for path in (*new.iterdir(), new, folder):
            sync(path)
        files = {f"{new.name}/{Path(name).name}": sum_ for name, sum_ in entry.files.items()}
        files[f"{new.name}/{ITEMS_FILE}"] = sha256(new / ITEMS_FILE)
        size = sum((folder / name).stat().st_size for name in files)
        return replace(
            entry, name=new.name, root=root, columns=columns, files=files,
            bytes_a_vector=round(size / entry.count, 1),
        )  # fmt: skip


def _path_of(item: Item, changes: Mapping[int, ItemChange], root: str) -> str:
    change = changes.get(item.id)
    return change.path if change and change.path else str(Path(root, item.path))


def _root(paths: list[str], segment: OpenSegment, changes: Mapping[int, ItemChange]) -> str:
    """The folder that the items' paths become relative to: the old one, if it holds all."""
    if not any(change.path for change in changes.values()):
        return segment.entry.root
    live = [
        os.path.split(path)[0]
        for position, path in enumerate(paths)
        if segment.live is None or segment.live[position]
    ]
    common = os.path.commonpath(live)
    old = segment.entry.root
    return old if Path(common).is_relative_to(old) else common


def _changed(item: Item, path: str, root: str, change: ItemChange | None) -> Item:
    below = root.rstrip(os.sep) + os.sep
    relative = path[len(below) :] if path.startswith(below) else os.path.relpath(path, root)
    state = change.state if change else None
    if state is None:
        return replace(item, path=relative)
    return replace(
        item, path=relative, size=state.size, mtime_ns=state.mtime_ns, ctime_ns=state.ctime_ns
    )


def _relabelled(
    items: list[Item], columns: dict[str, str], changes: Mapping[int, ItemChange]
) -> tuple[list[Item], dict[str, str]]:
    """The items with their new labels, and the columns with a type that holds them."""
    to_change = {id_: change for id_, change in changes.items() if len(set(change.labels)) > 1}
    if not to_change:
        return items, columns
    if "label" not in map(folded, columns):
        columns = {**columns, "label": "NULL"}
        items = [replace(item, values=(*item.values, None)) for item in items]
    column = [folded(name) for name in columns].index("label")
    name = list(columns)[column]
    kind = sql_type(change.labels[1] for change in to_change.values())
    merged = merged_columns([columns, {name: kind}])
    return [_with_label(item, column, kind, to_change.get(item.id)) for item in items], merged


def _with_label(item: Item, column: int, kind: str, change: ItemChange | None) -> Item:
    before = item.values[column]
    if change is None or (None if before is None else composed(str(before))) != change.labels[0]:
        return item
    values: list[Any] = list(item.values)
    values[column] = None if kind == "NULL" else sql_value(change.labels[1], kind)
    return replace(item, values=tuple(values))


def _link_or_copy(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # the disk has no hard links
        shutil.copyfile(old, new)
