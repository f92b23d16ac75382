"""Verifies an index: every byte, the counts, the model, and a sample of searches."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fgembed.bundle import Bundle
from fgembed.disk.files import check_files, sha256
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError, IntegrityError
from fgembed.images.preprocessing import read_image
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.metadata_table import all_items
from fgembed.index.library.indexed_images import indexed_images
from fgembed.index.search.open_index import IndexedVectors, removed_ids
from fgembed.index.search.snapshot import open_state
from fgembed.index.segments.segment import OpenSegment
from fgembed.index.tools.missing_files import MissingFiles, compare_files, missing_files

SEARCHED = 100  # vectors that are searched for
EMBEDDED = 8  # images that are embedded again
MIN_SELF_RECALL = 0.9
MIN_COSINE = 0.999  # of a stored vector with that of its image, embedded again
ROUNDING = 2e-3
WIDE = {"nprobe": 1 << 30, "efSearch": 1024, "k_factor": 256}  # a miss is then no tuning choice


@dataclass
class VerifyReport:
    """What was verified, and what is wrong.

    Attributes:
        manifest: of the index.
        files: number of files, all with the checksum of the manifest.
        searched: number of stored vectors that were used as queries.
        self_recall: share of them, in [0, 1], whose nearest neighbour is the vector itself or one
            equal to it.
        embedded: number of images that were embedded again.
        missing: the images without a file.
        compared: number of images whose content was compared; 0 unless that was requested.
        changed: paths of those that have another content now.
        problems: what is wrong, in words; empty for a sound index.
        notes: what could not be verified, and why.
    """

    manifest: Manifest
    files: int = 0
    searched: int = 0
    self_recall: float = 1.0
    embedded: int = 0
    missing: MissingFiles = field(default_factory=MissingFiles)
    compared: int = 0
    changed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(
    folder: Path,
    bundle: Callable[[Manifest], Bundle] | None = None,
    *,
    checksums: bool = False,
) -> VerifyReport:
    """Reads every file of an index, also those whose checksums were proved before.

    Args:
        folder: the index.
        bundle: gives the model that made an index; None skips the model and the images.
        checksums: read every image and compare its content with what was indexed.

    Raises:
        NotFoundError: there is no index.
        IntegrityError: a file is missing or damaged, so that nothing else can be verified.
    """
    manifest, vectors = open_state(folder, lambda state: _read(folder, state))
    report = VerifyReport(manifest, files=len(manifest.files))
    for segment in vectors.segments:
        report.problems += _segment_problems(segment)
    report.problems += _id_problems(folder, manifest, vectors)
    if manifest.count:
        _search_sample(vectors, report)
    if bundle is not None:
        _embed_sample(vectors, bundle, report)
    images = [image for same_path in indexed_images(vectors).values() for image in same_path]
    report.missing = missing_files([image.path for image in images])
    if report.missing.missing:
        report.notes.append(report.missing.described())
    if checksums:
        files = compare_files(images)
        report.compared, report.changed = files.count, files.changed
        if files.unread:
            report.notes.append(
                f"{len(files.unread)} image files cannot be read and were not compared, the first: "
                f"{files.unread[0]}"
            )
    return report


def _read(folder: Path, manifest: Manifest) -> IndexedVectors:
    check_files(folder, manifest.files, "index")
    return IndexedVectors(folder, manifest)


def _segment_problems(segment: OpenSegment) -> list[str]:
    name, problems = segment.entry.name, []
    listed = [item.id for item in all_items(segment.connection)]
    if listed != segment.ids.tolist():
        problems.append(f"{name}: its items are not those of its vectors")
    for start, vectors in segment.rows.chunks():
        lengths = np.linalg.norm(vectors, axis=1)
        invalid = np.flatnonzero(~(np.abs(lengths - 1) <= ROUNDING))
        if len(invalid):
            problems.append(f"{name}: vector {start + invalid[0]} is not of length 1")
            break
    return problems


def _id_problems(folder: Path, manifest: Manifest, vectors: IndexedVectors) -> list[str]:
    problems = []
    ids = np.concatenate([np.zeros(0, np.int64), *(part.ids for part in vectors.segments)])
    removed = removed_ids(folder, manifest.removed)
    if len(np.unique(ids)) < len(ids):
        problems.append("two items have the same id")
    if len(ids) and ids.max() >= manifest.next_id:
        problems.append(f"id {ids.max()} is not below the next id {manifest.next_id}")
    if len(np.setdiff1d(removed, ids)):
        problems.append("a removed id is in no segment")
    if len(vectors.live_ids()) != manifest.count:
        problems.append(f"{len(vectors.live_ids())} items, the manifest says {manifest.count}")
    return problems


def _search_sample(vectors: IndexedVectors, report: VerifyReport) -> None:
    """A stored vector must find itself, or one equal to it."""
    live = vectors.live_ids()
    sample = np.random.default_rng(0).choice(live, min(SEARCHED, len(live)), replace=False)
    scores, ids = vectors.search(vectors.reconstruct(sample), 1, parameters=WIDE)
    equal = (ids[:, 0] == sample) | (scores[:, 0] > 1 - ROUNDING)
    report.searched, report.self_recall = len(sample), float(equal.mean())
    if report.self_recall < MIN_SELF_RECALL:
        report.problems.append(
            f"only {report.self_recall:.0%} of {len(sample)} vectors find themselves"
        )


def _embed_sample(
    vectors: IndexedVectors, bundle: Callable[[Manifest], Bundle], report: VerifyReport
) -> None:
    """An image with an unchanged file must give the vector that is stored for it."""
    try:
        opened = bundle(report.manifest)
        opened.check()
    except IntegrityError as error:
        report.problems.append(str(error))
        return
    except FgembedError as error:
        report.notes.append(f"the model was not checked: {error}")
        return
    embedder = OnnxEmbedder.of(opened, "cpu")
    sample = np.random.default_rng(1).permutation(vectors.live_ids())[: 4 * EMBEDDED]
    items = vectors.items(sample.tolist())
    for id_, (path, item, _) in items.items():
        if report.embedded == EMBEDDED:
            break
        try:
            if item.sha256 is None or sha256(path) != item.sha256:
                continue
            vector = embedder.run(read_image(path, embedder.spec)[None])[0][0]
        except (OSError, FgembedError):
            continue
        report.embedded += 1
        cosine = float(vector @ vectors.reconstruct(np.array([id_]))[0])
        if cosine < MIN_COSINE:
            report.problems.append(
                f"{path} gives another vector than the index has: cosine {cosine:.3f}"
            )
    if not report.embedded and report.manifest.count:
        any_checksum = any(item.sha256 for _, item, _ in items.values())
        reason = "is unchanged" if any_checksum else "has a checksum: their vectors were imported"
        report.notes.append(f"no image was embedded again: none of the sampled images {reason}")
