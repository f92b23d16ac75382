"""Proves an index: every byte, every count, the model, and that searches find what they should."""

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
from fgembed.index.search.open_index import IndexedVectors, removed_ids
from fgembed.index.search.snapshot import open_state
from fgembed.index.segments.segment import OpenSegment

SAMPLE = 100
PICTURES = 8
SELF_FOUND = 0.9  # share of vectors that must find themselves
SAME = 0.999  # cosine of a stored vector with the picture's, embedded again
ROUNDING = 2e-3
WIDE = {"nprobe": 1 << 30, "efSearch": 1024, "k_factor": 256}  # what is there must be found


@dataclass
class Verified:
    """What was proved, and what is wrong.

    Attributes:
        manifest: of the index.
        files: how many have the checksum on record.
        searched: vectors that were looked up by themselves.
        self_found: share of them that were found as themselves or as an equal.
        embedded: pictures that were embedded again.
        problems: what is wrong, in words; empty for an index that can be trusted.
        notes: what could not be proved, and why.
    """

    manifest: Manifest
    files: int = 0
    searched: int = 0
    self_found: float = 1.0
    embedded: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(folder: Path, bundle: Callable[[Manifest], Bundle] | None = None) -> Verified:
    """Reads every file of an index, whatever was proved before.

    Args:
        folder: the index.
        bundle: finds the model that made it; None leaves the model out.

    Raises:
        NotFoundError: there is no index.
        IntegrityError: a file is missing or damaged, so that nothing else can be asked.
    """
    manifest, vectors = open_state(folder, lambda state: _read(folder, state))
    found = Verified(manifest, files=len(manifest.files))
    for segment in vectors.segments:
        found.problems += _segment_problems(segment)
    found.problems += _id_problems(folder, manifest, vectors)
    if manifest.count:
        _search_sample(vectors, found)
    if bundle is not None:
        _embed_sample(vectors, bundle, found)
    return found


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
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= ROUNDING))
        if len(wrong):
            problems.append(f"{name}: vector {start + wrong[0]} is not of length 1")
            break
    return problems


def _id_problems(folder: Path, manifest: Manifest, vectors: IndexedVectors) -> list[str]:
    problems = []
    ids = np.concatenate([np.zeros(0, np.int64), *(part.ids for part in vectors.segments)])
    removed = removed_ids(folder, manifest.removed)
    if len(np.unique(ids)) < len(ids):
        problems.append("an id comes twice")
    if len(ids) and ids.max() >= manifest.next_id:
        problems.append(f"id {ids.max()} is not below the next one, {manifest.next_id}")
    if len(np.setdiff1d(removed, ids)):
        problems.append("an id was removed that no segment has")
    if len(vectors.live_ids()) != manifest.count:
        problems.append(f"{len(vectors.live_ids())} pictures, the manifest says {manifest.count}")
    return problems


def _search_sample(vectors: IndexedVectors, found: Verified) -> None:
    """A vector must find itself, or one that is equal to it."""
    live = vectors.live_ids()
    sample = np.random.default_rng(0).choice(live, min(SAMPLE, len(live)), replace=False)
    scores, ids = vectors.search(vectors.reconstruct(sample), 1, parameters=WIDE)
    equal = (ids[:, 0] == sample) | (scores[:, 0] > 1 - ROUNDING)
    found.searched, found.self_found = len(sample), float(equal.mean())
    if found.self_found < SELF_FOUND:
        found.problems.append(
            f"only {found.self_found:.0%} of {len(sample)} vectors find themselves"
        )


def _embed_sample(
    vectors: IndexedVectors, bundle: Callable[[Manifest], Bundle], found: Verified
) -> None:
    """Pictures that are as they were must give the vectors that are stored."""
    try:
        opened = bundle(found.manifest)
        opened.check()
    except IntegrityError as error:
        found.problems.append(str(error))
        return
    except FgembedError as error:
        found.notes.append(f"the model was not checked: {error}")
        return
    embedder = OnnxEmbedder.of(opened, "cpu")
    sample = np.random.default_rng(1).permutation(vectors.live_ids())[: 4 * PICTURES]
    for number, (path, item, _) in vectors.items(sample.tolist()).items():
        if found.embedded == PICTURES:
            break
        try:
            if item.sha256 is None or sha256(path) != item.sha256:
                continue
            vector = embedder.run(read_image(path, embedder.spec)[None])[0][0]
        except (OSError, FgembedError):
            continue
        found.embedded += 1
        cosine = float(vector @ vectors.reconstruct(np.array([number]))[0])
        if cosine < SAME:
            found.problems.append(f"{path} gives another vector than the index has: {cosine:.3f}")
    if not found.embedded and found.manifest.count:
        known = any(item.sha256 for _, item, _ in vectors.items(sample.tolist()).values())
        why = "is as it was" if known else "has a checksum: their vectors came from elsewhere"
        found.notes.append(f"none of the pictures that were sampled {why}: none embedded")
