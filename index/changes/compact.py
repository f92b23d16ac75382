"""Merging all segments of an index into one."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from fgembed.errors import ConfigError
from fgembed.index.changes.live_rows import stored
from fgembed.index.changes.transaction import NOBODY, ChangeReport, wishes_for, wishes_of
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.publishing import changed, only_writer, publish
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.segments.faiss_building import check_kind
from fgembed.index.segments.kinds import is_raw, is_small
from fgembed.index.segments.segment_builder import Stage, Wishes, assemble


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
