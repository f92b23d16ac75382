"""Builds an index out of pictures."""

from dataclasses import dataclass, replace
from pathlib import Path

from fgembed.bundle import Bundle
from fgembed.images.finding import Skipped
from fgembed.index.changes.embed_images import Allowed, Pictures, embed_segment
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.publishing import model_of, only_writer, publish
from fgembed.index.segments.faiss_building import check_kind
from fgembed.index.segments.segment_builder import DEFAULTS, IndexSettings
from fgembed.progress import ReportStep, silent


@dataclass(frozen=True)
class BuildReport:
    """What was built and what was left out."""

    manifest: Manifest
    skipped: list[Skipped]


def build_index(
    images: Path,
    bundle: Bundle,
    folder: Path,
    *,
    settings: IndexSettings = DEFAULTS,
    max_bad: float = 0.5,
    device: str = "auto",
    report: ReportStep = silent,
) -> BuildReport:
    """Indexes every picture of a folder, manifest or list, replacing an index that is there.

    Until the new index is whole on disk the old one stays in use; a crash leaves one of them, and
    what was embedded by then is found by the next call.

    Args:
        images: as `Pictures.of` takes it.
        bundle: the exported model.
        folder: the index.
        settings: what it is to be.
        max_bad: share of unreadable pictures that is a failure.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        report: takes the stage, how much of it is done, of how much.

    Raises:
        FgembedError: `folder` holds something else, or another process is writing it.
        NotFoundError: `images` is missing or empty.
        BadImagesError: more than the share `max_bad` cannot be read; the list of them is written.
        ConfigError: the kind cannot be built, or not within the memory.
    """
    pictures = Pictures.of(images)
    check_kind(settings.kind, bundle.config.dimensions)
    store = settings.store_for(len(pictures.paths), bundle.config.dimensions)
    settings = replace(settings, store=store)
    with only_writer(folder, new=True):
        segment, skipped = embed_segment(
            folder, pictures, bundle, settings, 0, Allowed(max_bad), device, report
        )
        assert segment is not None  # else nothing could be read, which is an error
        manifest = Manifest(
            model=model_of(bundle, folder),
            dimensions=bundle.config.dimensions,
            count=segment.count,
            kind=settings.kind,
            store=store,
            recall=settings.recall_target,
            memory=settings.memory_bytes,
            next_id=segment.count,
            roots=[segment.root],
            segments=[segment],
        )
        return BuildReport(publish(folder, manifest), skipped)
