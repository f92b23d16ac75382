"""An index that is being changed while nobody else writes it, and the merging of its segments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fgembed.errors import ConfigError
from fgembed.images import Skipped
from fgembed.index.assemble import Stage, Wishes, assemble
from fgembed.index.kinds import is_raw, is_small
from fgembed.index.manifest import Manifest, Segment
from fgembed.index.opening import open_vectors
from fgembed.index.stored import stored
from fgembed.index.structure_build import check_kind
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
class OpenChange:
    """A change that is being made, while nobody else writes."""

    folder: Path
    manifest: Manifest
    vectors: IndexedVectors
    removed: Ids

    @classmethod
    def begin(cls, folder: Path) -> "OpenChange":
        """Opens the index as it is now."""
        vectors = open_vectors(folder)
        manifest = vectors.manifest
        return cls(folder, manifest, vectors, removed_ids(folder, manifest.removed))

    @property
    def roots(self) -> list[Path]:
        """The pictures' folders, the deepest first."""
        return sorted(map(Path, self.manifest.roots), key=lambda root: -len(root.parts))

    def end(self, new: Sequence[Segment], gone: Ids, next_id: int | None = None) -> Manifest:
        """Publishes the index with new segments and without these ids too.

        If `next_id` is not given, the new segments are of pictures embedded here: their ids are
        those that follow, and their root says what is a label.
        """
        manifest = self.manifest
        removed = np.union1d(self.removed, gone)
        root = None
        if next_id is None:
            next_id = manifest.next_id + sum(segment.count for segment in new)
            root = new[0].root if new else None
        segments = [*manifest.segments, *new]
        state = changed(self.folder, manifest, segments, removed, next_id, root)
        return publish(self.folder, state)


def wishes_of(manifest: Manifest) -> Wishes:
    """What the index was asked to be."""
    return Wishes(manifest.kind, manifest.store, manifest.recall, manifest.memory)


def wishes_for(manifest: Manifest, count: int) -> Wishes:
    """For so many vectors beside the others: a few are compared one by one, whatever the kind."""
    kind = "flat" if is_small(count, manifest.dimensions) else manifest.kind
    return replace(wishes_of(manifest), kind=kind)


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
        vectors = open_vectors(folder)
        manifest = vectors.manifest
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
        merge = partial(assemble, folder, stored(vectors), report=report)
        try:
            segments = [merge(wishes=wishes_of(manifest))]
        except ConfigError:  # too few are left to train what was asked for
            if not is_small(manifest.count, manifest.dimensions) or not is_raw(manifest.kind):
                raise
            segments = [merge(wishes=wishes_for(manifest, manifest.count))]
    return changed(folder, manifest, segments, NOBODY, manifest.next_id)
