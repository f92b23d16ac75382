"""A change of an index by its only writer: open its state, publish the next one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fgembed.embedding.array_types import Ids
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.skipped import Skipped
from fgembed.index.format.manifest import Manifest, Segment
from fgembed.index.format.publishing import changed_manifest, publish
from fgembed.index.library.distinct_images import Repeated
from fgembed.index.library.lost_folders import LostFolder
from fgembed.index.search.open_index import IndexedVectors, removed_ids
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.segments.kinds import is_small
from fgembed.index.segments.segment_builder import IndexSettings

NO_IDS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class ChangeReport:
    """What a change did to an index.

    Attributes:
        manifest: of the index after the change.
        added: new images.
        replaced: images whose file had changed.
        moved: images that were known again at another path.
        removed: items that searches no longer find, those whose place a moved image took included.
        unchanged: images of the source that were in the index with the same content.
        skipped: images that could not be read, and pictures that are not read.
        kept: folders that have lost so many images at once that their entries stay.
        repeated: paths of the source that name a file again.
        passed_over: images of the source that are clutter.
    """

    manifest: Manifest
    added: int = 0
    replaced: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: Sequence[Skipped] = ()
    kept: Sequence[LostFolder] = ()
    repeated: Sequence[Repeated] = ()
    passed_over: PassedOver = field(default_factory=PassedOver)


@dataclass(frozen=True)
class Transaction:
    """A change in progress. The caller holds the lock of `only_writer`.

    Attributes:
        folder: the index.
        manifest: its state before the change.
        vectors: the index in this state, open for search.
        removed: (R,) ids that were removed before and still lie in segments.
    """

    folder: Path
    manifest: Manifest
    vectors: IndexedVectors
    removed: Ids

    @classmethod
    def begin(cls, folder: Path) -> "Transaction":
        """Opens the current state.

        Raises:
            NotFoundError: there is no index.
            IntegrityError: it is damaged.
        """
        vectors = open_vectors(folder)
        manifest = vectors.manifest
        return cls(folder, manifest, vectors, removed_ids(folder, manifest.removed))

    def commit(
        self,
        new: Sequence[Segment],
        removed: Ids,
        next_id: int | None = None,
        *,
        changed: Mapping[str, Segment] | None = None,
        roots: Sequence[str] | None = None,
    ) -> Manifest:
        """Publishes the index with these segments besides, and without these ids.

        Args:
            new: segments to add; at most one where `next_id` is None.
            removed: (N,) ids to remove.
            next_id: the first unused id after the change. None stands for embedded images: their
                ids continue those of the index, and their root becomes one of its roots.
            changed: segments with other items, by the name of the one that each replaces.
            roots: of the index from now on; None keeps them.

        Raises:
            OSError: the files cannot be written, as on a full disk.
        """
        manifest = self.manifest
        all_removed = np.union1d(self.removed, removed)
        root = None
        if next_id is None:
            next_id = manifest.next_id + sum(segment.count for segment in new)
            root = new[0].root if new else None
        changed = changed or {}
        segments = [*(changed.get(part.name, part) for part in manifest.segments), *new]
        if roots is not None:
            manifest = replace(manifest, roots=list(roots))
        state = changed_manifest(self.folder, manifest, segments, all_removed, next_id, root)
        return publish(self.folder, state)


def settings_of(manifest: Manifest) -> IndexSettings:
    """The settings that an index was built with."""
    return IndexSettings(manifest.kind, manifest.store, manifest.recall, manifest.memory)


def settings_for_count(manifest: Manifest, count: int) -> IndexSettings:
    """The settings of an index for a new segment: `flat` if its `count` vectors are few."""
    kind = "flat" if is_small(count, manifest.dimensions) else manifest.kind
    return replace(settings_of(manifest), kind=kind)
