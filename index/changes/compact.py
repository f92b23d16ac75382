"""Merges all segments of an index into one."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from fgembed.errors import ConfigError
from fgembed.index.changes.live_rows import live_source
from fgembed.index.changes.transaction import NO_IDS, ChangeReport, settings_for_count, settings_of
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.publishing import changed_manifest, only_writer, publish
from fgembed.index.search.open_index import IndexedVectors
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.segments.faiss_building import check_kind
from fgembed.index.segments.kinds import is_raw, is_small
from fgembed.index.segments.segment_builder import IndexSettings, assemble
from fgembed.progress import ReportStep, silent


def compact(
    folder: Path,
    settings: IndexSettings | None = None,
    report: ReportStep = silent,
) -> ChangeReport:
    """Merges all segments into one, drops removed items for good, builds and tunes again.

    Ids stay. No image is read.

    Args:
        folder: the index.
        settings: kind, store, recall and memory from now on; None keeps those of the index.
        report: receives the stage, how much of it is completed, and the total.

    Raises:
        NotFoundError: there is no index.
        FgembedError: another process is writing the index.
        ConfigError: the kind cannot be built, or not within the memory.
    """
    with only_writer(folder):
        vectors = open_vectors(folder)
        manifest = vectors.manifest
        removed = manifest.removed.count if manifest.removed else 0
        if settings is not None:
            check_kind(settings.kind, manifest.dimensions)
            store = settings.store_for(manifest.count, manifest.dimensions)
            manifest = replace(
                manifest, kind=settings.kind, store=store, recall=settings.recall_target,
                memory=settings.memory_bytes,
            )  # fmt: skip
        manifest = publish(folder, _compacted(folder, manifest, vectors, report))
        return ChangeReport(manifest, removed=removed)


def _compacted(
    folder: Path, manifest: Manifest, vectors: IndexedVectors, report: ReportStep
) -> Manifest:
    segments = []
    if manifest.count:
        merge = partial(assemble, folder, live_source(vectors), report=report)
        try:
            segments = [merge(settings=settings_of(manifest))]
        except ConfigError:  # too few vectors are left to train the requested kind
            if not is_small(manifest.count, manifest.dimensions) or not is_raw(manifest.kind):
                raise
            segments = [merge(settings=settings_for_count(manifest, manifest.count))]
    return changed_manifest(folder, manifest, segments, NO_IDS, manifest.next_id)
