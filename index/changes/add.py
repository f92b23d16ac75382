"""Adds to an index that is there, and brings it up to date with a folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fgembed.bundle import Bundle
from fgembed.disk.files import absolute, sha256
from fgembed.errors import NotFoundError
from fgembed.index.changes.embed_images import Allowed, Pictures, embed_segment
from fgembed.index.changes.indexed_images import IndexedImage, indexed_images, is_below
from fgembed.index.changes.transaction import ChangeReport, OpenChange, settings_for_count
from fgembed.index.format.publishing import only_writer
from fgembed.progress import ReportStep, silent


def add_images(
    folder: Path,
    source: Path,
    bundle: Bundle,
    *,
    vanished: bool = False,
    max_bad: float = 0.5,
    device: str = "auto",
    report: ReportStep = silent,
) -> ChangeReport:
    """Adds the pictures of a source; one that is there and whose file has changed is replaced.

    Args:
        folder: the index.
        source: a folder, manifest, list or picture.
        bundle: the model that made the index.
        vanished: also remove the pictures below the folder `source` that are no longer there.
        max_bad: share of unreadable pictures that is a failure.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        report: takes the stage, how much of it is done, of how much.

    Raises:
        NotFoundError: the source is missing or empty, or with `vanished` none of the pictures
            that are indexed below it is there any more.
        BadImagesError: more than the share `max_bad` of the source's pictures cannot be read.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        change = OpenChange.begin(folder)
        pictures = Pictures.of(source, change.roots)
        known = indexed_images(change.vectors)
        names = [str(path) for path in pictures.paths]
        pairs = zip(names, pictures.paths, strict=True)
        states = [_state(path, known.get(name, [])) for name, path in pairs]
        gone = _vanished(known, set(names), source) if vanished else []
        wanted = [place for place, state in enumerate(states) if state != "unchanged"]
        unchanged = len(states) - len(wanted)
        ids = [one.id for name in gone for one in known[name]]
        if not wanted:
            manifest = change.manifest
            if ids:
                manifest = change.end([], np.array(ids, np.int64))
            return ChangeReport(manifest, removed=len(ids), unchanged=unchanged)
        changed_ones = [names[place] for place in wanted if states[place] == "changed"]
        replaced = {name: [one.id for one in known[name]] for name in changed_ones}
        allowed = Allowed(max_bad, unchanged)
        some = pictures.only(wanted)
        done = _add(change, some, replaced, ids, bundle, allowed, device, report)
        return replace(done, unchanged=unchanged)


def _vanished(known: dict[str, list[IndexedImage]], there: set[str], source: Path) -> list[str]:
    """Indexed pictures below a folder that are not there any more."""
    place = str(absolute(source))
    below = [name for name in known if is_below(name, place)]
    gone = [name for name in below if name not in there and not Path(name).is_file()]
    if gone and len(gone) == len(below):
        raise NotFoundError(
            f"none of the {len(below)} indexed pictures below {source} is there any more",
            'if that is meant, remove them with "fgembed index remove"',
        )
    return gone


def _state(path: Path, known: Sequence[IndexedImage]) -> str:
    """`new`, `changed` or `unchanged`; a file that was only touched is unchanged."""
    if not known:
        return "new"
    try:
        status = path.stat()
        if all(
            status.st_size == one.size
            and (status.st_mtime_ns == one.mtime_ns or sha256(path) == one.sha256)
            for one in known
        ):
            return "unchanged"
    except OSError:
        pass  # embedding says why
    return "changed"


def _add(
    change: OpenChange,
    pictures: Pictures,
    replaced: dict[str, list[int]],
    gone: list[int],
    bundle: Bundle,
    allowed: Allowed,
    device: str,
    report: ReportStep,
) -> ChangeReport:
    """Publishes the index with these pictures and without those that are gone.

    A picture that is to be replaced by one that cannot be read stays as it was.
    """
    manifest = change.manifest
    settings = settings_for_count(manifest, len(pictures.paths))
    segment, skipped = embed_segment(
        change.folder, pictures, bundle, settings, manifest.next_id, allowed, device, report
    )
    unreadable = {str(bad.path) for bad in skipped}
    old = [n for path, numbers in replaced.items() if path not in unreadable for n in numbers]
    new = [segment] if segment else []
    count = segment.count if segment else 0
    without = np.array([*old, *gone], np.int64)
    manifest = change.end(new, without)
    return ChangeReport(manifest, max(0, count - len(old)), len(old), len(gone), skipped=skipped)
