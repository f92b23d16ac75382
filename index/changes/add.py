"""Adds images to an existing index, or brings an index up to date with a folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fgembed.bundle import Bundle
from fgembed.disk.files import absolute, sha256
from fgembed.errors import NotFoundError
from fgembed.images.skipped import write_skipped
from fgembed.index.changes.embed_images import BadImageLimit, SourceImages, embed_segment
from fgembed.index.changes.indexed_images import IndexedImage, indexed_images, is_below
from fgembed.index.changes.transaction import ChangeReport, Transaction, settings_for_count
from fgembed.index.format.manifest import SKIPPED_FILE
from fgembed.index.format.publishing import only_writer
from fgembed.progress import ReportStep, silent


def add_images(
    folder: Path,
    source: Path,
    bundle: Bundle,
    *,
    vanished: bool = False,
    include_clutter: bool = False,
    max_bad: float = 0.5,
    device: str = "auto",
    report: ReportStep = silent,
) -> ChangeReport:
    """Adds the images of a source; an indexed image whose file has changed is replaced.

    Args:
        folder: the index.
        source: a folder, manifest, list or image.
        bundle: the model that made the index.
        vanished: also remove the indexed images below the folder `source` whose files are gone.
        include_clutter: add also what systems and programs left among the images.
        max_bad: share of unreadable images, in [0, 1], above which the change fails.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        report: receives the stage, how much of it is completed, and the total.

    Raises:
        NotFoundError: the source is missing or empty; or, with `vanished`, all files that are
            indexed below it are gone.
        BadImagesError: more than the share `max_bad` of the source's images cannot be read.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        change = Transaction.begin(folder)
        images = SourceImages.of(source, change.roots, include_clutter=include_clutter)
        indexed = indexed_images(change.vectors)
        names = [str(path) for path in images.paths]
        pairs = zip(names, images.paths, strict=True)
        states = [_state(path, indexed.get(name, [])) for name, path in pairs]
        missing = _vanished(indexed, set(names), source) if vanished else []
        removed = [item.id for name in missing for item in indexed[name]]
        to_embed = [row for row, state in enumerate(states) if state != "unchanged"]
        unchanged = len(states) - len(to_embed)
        if not to_embed:
            manifest = change.manifest
            write_skipped(folder / SKIPPED_FILE, images.listing.skipped)
            if removed:
                manifest = change.commit([], np.array(removed, np.int64))
            return ChangeReport(
                manifest,
                removed=len(removed),
                unchanged=unchanged,
                skipped=images.listing.skipped,
                passed_over=images.listing.passed_over,
            )
        changed = [names[row] for row in to_embed if states[row] == "changed"]
        replaced = {name: [item.id for item in indexed[name]] for name in changed}
        limit = BadImageLimit(max_bad, unchanged)
        selected = images.only(to_embed)
        added = _add(change, selected, replaced, removed, bundle, limit, device, report)
        return replace(added, unchanged=unchanged, passed_over=images.listing.passed_over)


def _vanished(indexed: dict[str, list[IndexedImage]], present: set[str], source: Path) -> list[str]:
    """The indexed images below the folder `source` that have no file any more."""
    folder = str(absolute(source))
    below = [name for name in indexed if is_below(name, folder)]
    missing = [name for name in below if name not in present and not Path(name).is_file()]
    if missing and len(missing) == len(below):
        raise NotFoundError(
            f"none of the {len(below)} indexed images below {source} exists any more",
            'mount or restore the folder, or remove them with "fgembed index remove"',
        )
    return missing


def _state(path: Path, indexed: Sequence[IndexedImage]) -> str:
    """`new`, `changed` or `unchanged`; a file with a new time and the same bytes is unchanged."""
    if not indexed:
        return "new"
    try:
        status = path.stat()
        if all(
            status.st_size == item.size
            and (status.st_mtime_ns == item.mtime_ns or sha256(path) == item.sha256)
            for item in indexed
        ):
            return "unchanged"
    except OSError:
        pass  # embedding reports the reason
    return "changed"


def _add(
    change: Transaction,
    images: SourceImages,
    replaced: dict[str, list[int]],
    removed: list[int],
    bundle: Bundle,
    limit: BadImageLimit,
    device: str,
    report: ReportStep,
) -> ChangeReport:
    """Publishes the index with these images and without the removed ids.

    An indexed image stays as it was if the file that would replace it cannot be read.
    """
    manifest = change.manifest
    settings = settings_for_count(manifest, len(images.paths))
    segment, skipped = embed_segment(
        change.folder, images, bundle, settings, manifest.next_id, limit, device, report
    )
    unreadable = {str(bad.path) for bad in skipped}
    old = [id_ for path, ids in replaced.items() if path not in unreadable for id_ in ids]
    count = segment.count if segment else 0
    published = change.commit([segment] if segment else [], np.array([*old, *removed], np.int64))
    return ChangeReport(
        manifest=published,
        added=max(0, count - len(old)),
        replaced=len(old),
        removed=len(removed),
        skipped=skipped,
    )
