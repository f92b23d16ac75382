"""An index that is being changed while nobody else writes it, and the merging of its segments."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fgembed.embedding.array_types import Ids
from fgembed.images.finding import Skipped
from fgembed.index.format.manifest import Manifest, Segment
from fgembed.index.format.publishing import changed_manifest, publish
from fgembed.index.search.open_index import IndexedVectors, removed_ids
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.segments.kinds import is_small
from fgembed.index.segments.segment_builder import IndexSettings

NO_IDS = np.zeros(0, np.int64)


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
        state = changed_manifest(self.folder, manifest, segments, removed, next_id, root)
        return publish(self.folder, state)


def settings_of(manifest: Manifest) -> IndexSettings:
    """What the index was asked to be."""
    return IndexSettings(manifest.kind, manifest.store, manifest.recall, manifest.memory)


def settings_for_count(manifest: Manifest, count: int) -> IndexSettings:
    """For so many vectors beside the others: a few are compared one by one, whatever the kind."""
    kind = "flat" if is_small(count, manifest.dimensions) else manifest.kind
    return replace(settings_of(manifest), kind=kind)
