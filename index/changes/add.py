"""Adds images to an existing index, or brings an index up to date with a folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fgembed.bundle import Bundle
from fgembed.images.skipped import Skipped, write_skipped
from fgembed.index.changes.embed_images import BadImageLimit, embed_segment
from fgembed.index.changes.plan import AddPlan, Sync
from fgembed.index.changes.rewritten_segments import moved_roots, rewritten
from fgembed.index.changes.transaction import ChangeReport, Transaction, settings_for_count
from fgembed.index.format.manifest import SKIPPED_FILE, Segment
from fgembed.index.format.publishing import only_writer
from fgembed.progress import ReportStep, silent


def add_images(
    folder: Path,
    source: Path,
    bundle: Bundle,
    *,
    sync: Sync | None = None,
    checksums: bool = False,
    include_clutter: bool = False,
    max_bad: float = 0.5,
    device: str = "auto",
    report: ReportStep = silent,
) -> ChangeReport:
    """Adds the images of a source; an indexed image whose file has changed is replaced.

    An image that was moved keeps its id, its vector and its metadata.

    Args:
        folder: the index.
        source: a folder, manifest, list or image.
        bundle: the model that made the index.
        sync: also remove the indexed images below the folder `source` whose files are gone.
        checksums: read every file, also where size and times are unchanged.
        include_clutter: add also what systems and programs left among the images.
        max_bad: share of unreadable images, in [0, 1], above which the change fails.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        report: receives the stage, how much of it is completed, and the total.

    Raises:
        NotFoundError: the source is missing or empty; or, with `sync`, all files that are
            indexed below it are gone.
        BadImagesError: more than the share `max_bad` of the source's images cannot be read.
        ConfigError: a folder that is said to be gone is not below the source.
        FgembedError: another process is writing the index.
    """
    with only_writer(folder):
        change = Transaction.begin(folder)
        plan = AddPlan.of(
            change.vectors,
            source,
            sync=sync,
            checksums=checksums,
            include_clutter=include_clutter,
            report=report,
        )
        limit = BadImageLimit(max_bad, len(plan.comparison.unchanged) + len(plan.comparison.moves))
        segment, skipped = _embedded(change, plan, bundle, limit, device, report)
        return _publish(change, plan, segment, skipped)


def _embedded(
    change: Transaction,
    plan: AddPlan,
    bundle: Bundle,
    limit: BadImageLimit,
    device: str,
    report: ReportStep,
) -> tuple[Segment | None, Sequence[Skipped]]:
    """A segment of the new and the changed images, if there are any; and the unreadable ones."""
    rows = plan.to_embed
    left_out = plan.images.listing.skipped
    if not rows:
        write_skipped(change.folder / SKIPPED_FILE, left_out)
        return None, left_out
    settings = settings_for_count(change.manifest, len(rows))
    first_id = change.manifest.next_id
    images = plan.images.only(rows)
    return embed_segment(change.folder, images, bundle, settings, first_id, limit, device, report)


def _publish(
    change: Transaction, plan: AddPlan, segment: Segment | None, skipped: Sequence[Skipped]
) -> ChangeReport:
    """Publishes the index as planned.

    An indexed image stays as it was if the file that would replace it cannot be read.
    """
    replaced = plan.replaced_ids({str(bad.path) for bad in skipped})
    removed = [image.id for name in plan.removed for image in plan.indexed[name]]
    away = np.array([*replaced, *removed, *plan.comparison.superseded], np.int64)
    changed = rewritten(change, plan)
    manifest = change.manifest
    if segment is not None or len(away) or changed:
        roots = moved_roots(plan, manifest.roots)
        new = [] if segment is None else [segment]
        manifest = change.commit(new, away, changed=changed, roots=roots)
    count = segment.count if segment else 0
    return ChangeReport(
        manifest=manifest,
        added=max(0, count - len(replaced)),
        replaced=len(replaced),
        moved=len(plan.comparison.moves),
        removed=len(removed) + len(set(plan.comparison.superseded)),
        unchanged=len(plan.comparison.unchanged),
        skipped=skipped,
        kept=plan.kept,
        repeated=plan.repeated,
        passed_over=plan.images.listing.passed_over,
    )
