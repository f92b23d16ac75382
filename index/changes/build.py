"""Builds an index from images."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fgembed.bundle import Bundle
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.skipped import Skipped
from fgembed.index.changes.embed_images import BadImageLimit, SourceImages, embed_segment
from fgembed.index.format.manifest import Manifest, Model, Segment
from fgembed.index.format.model_binding import model_of
from fgembed.index.format.publishing import only_writer, publish
from fgembed.index.library.distinct_images import Repeated, distinct
from fgembed.index.segments.faiss_building import check_kind
from fgembed.index.segments.segment_builder import DEFAULTS, IndexSettings
from fgembed.progress import ReportStep, silent


@dataclass(frozen=True)
class BuildReport:
    """The index that was built; images that could not be read, named again, or are clutter."""

    manifest: Manifest
    skipped: list[Skipped]
    repeated: Sequence[Repeated] = ()
    passed_over: PassedOver = field(default_factory=PassedOver)


def build_index(
    images: Path,
    bundle: Bundle,
    folder: Path,
    *,
    settings: IndexSettings = DEFAULTS,
    include_clutter: bool = False,
    max_bad: float = 0.5,
    device: str = "auto",
    report: ReportStep = silent,
) -> BuildReport:
    """Indexes every image of a folder, manifest or list; replaces an existing index.

    Searches use the old index until the new one is complete on disk. A crash leaves one of the
    two, and the next call reuses what was embedded before it.

    Args:
        images: as `SourceImages.of` takes it.
        bundle: the exported model.
        folder: the index.
        settings: kind, store, recall and memory of the new index.
        include_clutter: index also what systems and programs left among the images.
        max_bad: share of unreadable images, in [0, 1], above which the build fails.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        report: receives the stage, how much of it is completed, and the total.

    Raises:
        FgembedError: `folder` holds something else, or another process is writing it.
        NotFoundError: `images` is missing or empty.
        BadImagesError: more than the share `max_bad` cannot be read; skipped.jsonl lists them.
        ConfigError: the kind cannot be built, or not within the memory.
    """
    source = SourceImages.of(images, include_clutter=include_clutter)
    listed = distinct(source.paths, {} if source.folder_labels else source.listing.columns)
    source = source.only(listed.rows)
    dimensions = bundle.config.dimensions
    check_kind(settings.kind, dimensions)
    settings = replace(settings, store=settings.store_for(len(source.paths), dimensions))
    with only_writer(folder, new=True):
        segment, skipped = embed_segment(
            folder, source, bundle, settings, 0, BadImageLimit(max_bad), device, report
        )
        assert segment is not None  # None readable would have raised BadImagesError
        manifest = new_manifest(
            segment,
            dimensions,
            settings,
            model=model_of(bundle, folder),
            next_id=segment.count,
            roots=[segment.root],
        )
        return BuildReport(
            publish(folder, manifest), skipped, listed.repeated, source.listing.passed_over
        )


def new_manifest(
    segment: Segment,
    dimensions: int,
    settings: IndexSettings,
    *,
    model: Model | None,
    next_id: int,
    roots: Sequence[str],
) -> Manifest:
    """The manifest of a new index of one segment, built with `settings`."""
    return Manifest(
        model=model,
        dimensions=dimensions,
        count=segment.count,
        kind=settings.kind,
        store=settings.store_for(segment.count, dimensions),
        recall=settings.recall_target,
        memory=settings.memory_bytes,
        next_id=next_id,
        roots=list(roots),
        segments=[segment],
    )
