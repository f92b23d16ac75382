"""Tells an index where a folder of its images is now; ids, vectors and metadata stay."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from fgembed.disk.file_state import FileState, state_or_none
from fgembed.disk.files import absolute, sha256
from fgembed.disk.spelling import on_disk
from fgembed.errors import FgembedError, NotFoundError
from fgembed.index.changes.transaction import Transaction
from fgembed.index.format.manifest import Manifest, Segment
from fgembed.index.format.metadata_table import all_items
from fgembed.index.format.publishing import only_writer
from fgembed.index.library.indexed_images import IndexedImage, indexed_images, is_below
from fgembed.index.library.item_changes import ItemChange, changed_segment
from fgembed.index.search.open_index import IndexedVectors
from fgembed.progress import ReportStep, silent
from fgembed.text import composed

SAMPLE = 100  # files whose content is compared


@dataclass(frozen=True)
class Relocation:
    """Where the images below a folder are now, and what is found there.

    Attributes:
        paths: the new path of each indexed image by its old one.
        found: how many of them exist at the new place.
        compared: how many of these were compared by content.
        differ: the new paths of those that have another size or content.
        twice: ids of images that the index has at the new place, too; the relocation removes them.
    """

    paths: dict[str, str]
    found: int
    compared: int
    differ: list[str]
    twice: list[int]


def plan_relocation(
    vectors: IndexedVectors, old: Path, new: Path, *, checksums: bool, report: ReportStep = silent
) -> Relocation:
    """Finds the images below `old` and their files below `new`.

    Args:
        vectors: the index.
        old: a folder, or an image, that the index names.
        new: where it is now.
        checksums: compare every file by content, not only a sample.
        report: receives the stage, how many files are compared, and of how many.

    Raises:
        NotFoundError: the index has no image there, or none of them is at the new place.
        FgembedError: most of the files there are other images.
    """
    indexed = indexed_images(vectors)
    before, after = absolute(old), on_disk(absolute(new))
    below = [name for name in indexed if _top(name, str(before)) is not None]
    paths = {name: _moved(name, str(before), str(after)) for name in below}
    if not paths:
        raise NotFoundError(
            f"{vectors.folder} holds no image at or below {before}",
            'give a folder that "fgembed index info" or the hits of a search name',
        )
    states = {name: state for name, path in paths.items() if (state := state_or_none(path))}
    if not states:
        raise NotFoundError(
            f"none of the {len(paths)} images below {before} is below {after}",
            "give the folder that holds the same subfolders and files",
        )
    differ, compared = _other_images(indexed, paths, states, checksums, report)
    if len(differ) > max(compared, len(differ)) / 2:
        raise FgembedError(
            f"{len(differ)} of {max(compared, len(differ))} files compared below {after} are other "
            f"images than those of {before}, {differ[0]} for one",
            'give the folder of the same images, or add these with "fgembed index add"',
        )
    twice = _twice(indexed, paths)
    return Relocation(paths, len(states), compared, differ, twice)


def relocate(
    folder: Path, old: Path, new: Path, *, checksums: bool = False, report: ReportStep = silent
) -> tuple[Manifest, Relocation]:
    """Replaces the folder `old` by `new` in the paths of an index; no image is embedded.

    Args:
        folder: the index.
        old: as for `plan_relocation`, like the arguments below.
        new: where it is now.
        checksums: compare every file by content, not only a sample.
        report: receives the stage, how many files are compared, and of how many.

    Raises:
        NotFoundError: there is no index; or see `plan_relocation`.
        FgembedError: another process is writing the index; or see `plan_relocation`.
    """
    with only_writer(folder):
        change = Transaction.begin(folder)
        plan = plan_relocation(change.vectors, old, new, checksums=checksums, report=report)
        before, after = str(absolute(old)), str(on_disk(absolute(new)))
        changed = _segments(change, plan, before, after)
        roots = [_moved(root, before, after) for root in change.manifest.roots]
        twice = np.array(plan.twice, np.int64)
        manifest = change.commit([], twice, changed=changed, roots=list(dict.fromkeys(roots)))
        return manifest, plan


def _top(name: str, folder: str) -> str | None:
    """The beginning of a path that is the folder, in whatever letters; None if it is not below."""
    if is_below(name, folder):
        return folder
    if not composed(name).startswith(composed(folder)):
        return None
    parts = len(Path(folder).parts)
    top = str(Path(*Path(name).parts[:parts]))
    return top if composed(top) == composed(folder) else None


def _other_images(
    indexed: dict[str, list[IndexedImage]],
    paths: dict[str, str],
    states: dict[str, FileState],
    checksums: bool,
    report: ReportStep,
) -> tuple[list[str], int]:
    """The new paths of files that are not the indexed ones, and how many were compared."""
    differ, to_read = [], []
    for name, state in states.items():
        images = [image for image in indexed[name] if image.sha256 is not None]
        if any(image.size != state.size for image in images):
            differ.append(paths[name])
        elif images:
            to_read.append(name)
    if not checksums:
        step = max(1, -(-len(to_read) // SAMPLE))
        to_read = list(islice(to_read, 0, None, step))
    for done, name in enumerate(to_read, start=1):
        try:
            checksum = sha256(Path(paths[name]))
        except OSError:
            continue  # "add --sync" names it
        if any(image.sha256 not in (None, checksum) for image in indexed[name]):
            differ.append(paths[name])
        report("comparing", done, len(to_read))
    sized = sum(path not in {paths[name] for name in to_read} for path in differ)
    return differ, len(to_read) + sized


def _twice(indexed: dict[str, list[IndexedImage]], paths: dict[str, str]) -> list[int]:
    """The ids that the index has besides at the new paths; of other content, those moved there."""
    ids = []
    for name, path in paths.items():
        if path == name or path not in indexed or path in paths:
            continue
        same = {image.sha256 for image in indexed[path]} & {i.sha256 for i in indexed[name]}
        ids += [image.id for image in (indexed[path] if same else indexed[name])]
    return ids


def _segments(change: Transaction, plan: Relocation, old: str, new: str) -> dict[str, Segment]:
    segments: dict[str, Segment] = {}
    for segment in change.vectors.segments:
        entry = segment.entry
        if _top(entry.root, old) is not None:  # all of its images are below the folder
            segments[entry.name] = replace(entry, root=_moved(entry.root, old, new))
            continue
        items = [
            (item.id, str(Path(entry.root, item.path))) for item in all_items(segment.connection)
        ]
        changes = {id_: ItemChange(plan.paths[name]) for id_, name in items if name in plan.paths}
        if changes:
            segments[entry.name] = changed_segment(change.folder, segment, changes)
    return segments


def _moved(path: str, old: str, new: str) -> str:
    top = _top(path, old)
    return path if top is None else str(Path(new, path[len(top) :].lstrip("/")))
