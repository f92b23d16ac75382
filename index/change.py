"""Changes of an index that is there: add, remove, bring up to date, compact."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fgembed.bundle import Bundle
from fgembed.errors import ConfigError, NotFoundError
from fgembed.files import absolute, sha256
from fgembed.images import Skipped
from fgembed.index.assemble import Part, Stage, Wishes, assemble
from fgembed.index.embedding import Allowed, Pictures, embed_segment
from fgembed.index.kinds import is_raw, is_small
from fgembed.index.manifest import EARLIER, Manifest, Segment
from fgembed.index.opening import open_state
from fgembed.index.stored import Known, live_items, stored_parts
from fgembed.index.structure import check_kind
from fgembed.index.vectors import IndexedVectors, removed_ids
from fgembed.index.writing import changed, only_writer, publish
from fgembed.metrics import Ids

NOBODY = np.zeros(0, np.int64)


@dataclass(frozen=True)
class ChangeReport:
    """What became of an index.

    Attributes:
        manifest: of the index as it is now.
        added: pictures that are new.
        replaced: pictures whose file had changed.
        removed: pictures that are no longer found.
        unchanged: of the pictures given, those that were there already.
        skipped: what could not be read.
    """

    manifest: Manifest
    added: int = 0
    replaced: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: Sequence[Skipped] = ()


@dataclass(frozen=True)
class NewParts:
    """Vectors to add that are there already.

    Attributes:
        parts: with the ids that follow the one given.
        count: of all vectors.
        root: the pictures' folder.
        columns: of their items.
    """

    parts: Callable[[int], Sequence[Part]]
    count: int
    root: str
    columns: dict[str, str]


@dataclass(frozen=True)
class _Change:
    """A change that is being made, while nobody else writes."""

    folder: Path
    manifest: Manifest
    vectors: IndexedVectors
    removed: Ids

    @classmethod
    def begin(cls, folder: Path, report: Stage) -> "_Change":
        """Opens the index; one of an earlier format is first brought to today's."""
        manifest, vectors = open_state(folder, lambda state: IndexedVectors(folder, state))
        if any(segment.factory == EARLIER for segment in manifest.segments):
            manifest = publish(folder, _compacted(folder, manifest, vectors, report))
            manifest, vectors = open_state(folder, lambda state: IndexedVectors(folder, state))
        return cls(folder, manifest, vectors, removed_ids(folder, manifest.removed))

    @property
    def roots(self) -> list[Path]:
        """The pictures' folders, the deepest first."""
        roots = {segment.root for segment in self.manifest.segments}
        return sorted(map(Path, roots), key=lambda root: -len(root.parts))

    def end(self, segments: Sequence[Segment], gone: Ids, next_id: int) -> Manifest:
        """Publishes the index with these segments and without these ids too."""
        removed = np.union1d(self.removed, gone)
        manifest = self.manifest
        return publish(self.folder, changed(self.folder, manifest, segments, removed, next_id))

    def add(
        self,
        pictures: Pictures,
        replaced: dict[str, int],
        gone: list[int],
        bundle: Bundle,
        allowed: Allowed,
        device: str,
        report: Stage,
    ) -> ChangeReport:
        """Publishes the index with these pictures and without those that are gone.

        A picture that is to be replaced by one that cannot be read stays as it was.
        """
        manifest = self.manifest
        wishes = wishes_for(manifest, len(pictures.paths))
        segment, skipped = embed_segment(
            self.folder, pictures, bundle, wishes, manifest.next_id, allowed, device, report
        )
        unreadable = {str(bad.path) for bad in skipped}
        old = [number for path, number in replaced.items() if path not in unreadable]
        new = [segment] if segment else []
        count = segment.count if segment else 0
        without = np.array([*old, *gone], np.int64)
        manifest = self.end([*manifest.segments, *new], without, manifest.next_id + count)
        return ChangeReport(manifest, count - len(old), len(old), len(gone), skipped=skipped)


def wishes_of(manifest: Manifest) -> Wishes:
    """What the index was asked to be."""
    return Wishes(manifest.kind, manifest.store, manifest.recall, manifest.memory)


def wishes_for(manifest: Manifest, count: int) -> Wishes:
    """For so many vectors beside the others: a few are compared one by one, whatever the kind."""
    kind = "flat" if is_small(count, manifest.dimensions) else manifest.kind
    return replace(wishes_of(manifest), kind=kind)


def add_pictures(
    folder: Path,
    source: Path,
    bundle: Bundle,
    *,
    vanished: bool = False,
    max_bad: float = 0.5,
    device: str = "auto",
    report: Stage = lambda stage, done, total: None,
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
        change = _Change.begin(folder, report)
        pictures = Pictures.of(source, change.roots)
        known = live_items(change.vectors)
        names = [str(path) for path in pictures.paths]
        states = [
            _state(path, known.get(name)) for name, path in zip(names, pictures.paths, strict=True)
        ]
        gone = _vanished(known, set(names), source) if vanished else []
        wanted = [place for place, state in enumerate(states) if state != "unchanged"]
        unchanged = len(states) - len(wanted)
        ids = [known[name].id for name in gone]
        if not wanted:
            manifest = change.manifest
            if ids:
                manifest = change.end(manifest.segments, np.array(ids, np.int64), manifest.next_id)
            return ChangeReport(manifest, removed=len(ids), unchanged=unchanged)
        changed_ones = [names[place] for place in wanted if states[place] == "changed"]
        replaced = {name: known[name].id for name in changed_ones}
        allowed = Allowed(max_bad, unchanged)
        some = pictures.only(wanted)
        done = change.add(some, replaced, ids, bundle, allowed, device, report)
        return replace(done, unchanged=unchanged)


def add_parts(
    folder: Path, new: NewParts, report: Stage = lambda stage, done, total: None
) -> ChangeReport:
    """Adds vectors; they get the next ids.

    Raises:
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        change = _Change.begin(folder, report)
        manifest = change.manifest
        segment = assemble(
            folder, new.parts(manifest.next_id), new.count, manifest.dimensions, new.root,
            new.columns, wishes_for(manifest, new.count), report,
        )  # fmt: skip
        segments = [*manifest.segments, segment]
        return ChangeReport(change.end(segments, NOBODY, manifest.next_id + new.count), new.count)


def remove_ids(folder: Path, ids: Ids) -> ChangeReport:
    """Takes the ids (N,) out of what a search finds.

    Raises:
        NotFoundError: an id is not in the index.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        return _removed(_Change.begin(folder, _silent), ids)


def remove_paths(folder: Path, paths: Sequence[Path]) -> ChangeReport:
    """Takes pictures, or all pictures below folders, out of what a search finds.

    Raises:
        NotFoundError: none of the index's pictures is such a path or lies below it.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        change = _Change.begin(folder, _silent)
        known = live_items(change.vectors)
        ids: list[int] = []
        for path in paths:
            place = str(absolute(path))
            below = [one.id for name, one in known.items() if _is_below(name, place)]
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
        change = _Change.begin(folder, _silent)
        return _removed(change, change.vectors.ids_where(condition))


def compact(
    folder: Path,
    wishes: Wishes | None = None,
    report: Stage = lambda stage, done, total: None,
) -> ChangeReport:
    """Merges all segments into one without what was removed, built and tuned anew.

    Ids stay. With `wishes` the index becomes one of another kind, store, recall or memory.

    Raises:
        FgembedError: another process is writing the index.
        ConfigError: the kind cannot be built, or not within the memory.
    """
    with only_writer(folder):
        manifest, vectors = open_state(folder, lambda state: IndexedVectors(folder, state))
        gone = manifest.removed.count if manifest.removed else 0
        if wishes is not None:
            check_kind(wishes.kind, manifest.dimensions)
            store = wishes.stored(manifest.count, manifest.dimensions)
            manifest = replace(
                manifest, kind=wishes.kind, store=store, recall=wishes.recall,
                memory=wishes.memory,
            )  # fmt: skip
        manifest = publish(folder, _compacted(folder, manifest, vectors, report))
        return ChangeReport(manifest, removed=gone)


def _compacted(
    folder: Path, manifest: Manifest, vectors: IndexedVectors, report: Stage
) -> Manifest:
    segments = []
    if manifest.count:
        root, columns, parts = stored_parts(vectors)
        merge = partial(
            assemble, folder, parts, manifest.count, manifest.dimensions, root, columns,
            report=report,
        )  # fmt: skip
        try:
            segments = [merge(wishes=wishes_of(manifest))]
        except ConfigError:  # too few are left to train what was asked for
            if not is_small(manifest.count, manifest.dimensions) or not is_raw(manifest.kind):
                raise
            segments = [merge(wishes=wishes_for(manifest, manifest.count))]
    return changed(folder, manifest, segments, NOBODY, manifest.next_id)


def _removed(change: _Change, ids: Ids) -> ChangeReport:
    live = change.vectors.live_ids()
    unknown = np.setdiff1d(ids, live)
    if len(unknown):
        raise NotFoundError(f"{change.folder} holds no picture with id {unknown[0]}")
    manifest = change.manifest
    if len(ids):
        manifest = change.end(manifest.segments, ids, manifest.next_id)
    return ChangeReport(manifest, removed=len(ids))


def _vanished(known: dict[str, Known], there: set[str], source: Path) -> list[str]:
    """Indexed pictures below a folder that are not there any more."""
    place = str(absolute(source))
    below = [name for name in known if _is_below(name, place)]
    gone = [name for name in below if name not in there and not Path(name).exists()]
    if gone and len(gone) == len(below):
        raise NotFoundError(
            f"none of the {len(below)} indexed pictures below {source} is there any more; if that "
            'is meant, remove them with "fgembed index remove"'
        )
    return gone


def _state(path: Path, known: Known | None) -> str:
    """`new`, `changed` or `unchanged`; a file that was only touched is unchanged."""
    if known is None:
        return "new"
    try:
        status = path.stat()
        if status.st_size == known.size:
            if status.st_mtime_ns == known.mtime_ns or sha256(path) == known.sha256:
                return "unchanged"
    except OSError:
        pass  # embedding says why
    return "changed"


def _is_below(name: str, place: str) -> bool:
    return name == place or name.startswith(place.rstrip(os.sep) + os.sep)


def _silent(stage: str, done: int, total: int) -> None:
    pass
