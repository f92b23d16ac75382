"""Builds an index: embed a folder through ONNX Runtime, write a segment, publish the manifest."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from fgembed.bundle import Bundle
from fgembed.errors import FgembedError
from fgembed.files import refuse_foreign, sha256
from fgembed.image_batches import check_bad, write_skipped
from fgembed.images import Skipped, find_images
from fgembed.index.kinds import KINDS
from fgembed.index.manifest import (
    LOCK_FILE,
    MANIFEST_FILE,
    MODEL_TYPE,
    OWN_NAMES,
    SKIPPED_FILE,
    Manifest,
)
from fgembed.index.onnx_embedder import OnnxEmbedder
from fgembed.index.segment import Item, write_segment


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
    kind: str = "flat",
    max_bad: float = 0.5,
    device: str = "auto",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> BuildReport:
    """Indexes every picture below `images` into `folder`, replacing an index that is there.

    Until the new index is whole on disk the old one stays in use; a crash leaves one of them.
    `report` takes how many pictures are embedded, of how many.

    Raises:
        FgembedError: `folder` holds something else, or another process is writing it.
        NotFoundError: `images` is missing or empty.
        BadImagesError: more than the share `max_bad` cannot be read; the list of them is written.
    """
    refuse_foreign(folder, OWN_NAMES, "an index", (MANIFEST_FILE, MODEL_TYPE))
    paths, unreadable = find_images(images)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_writer(folder):
        embedder = OnnxEmbedder.of(bundle, device, bulk=True)
        embedded = embedder.embed(paths, report)
        items, rows, vanished = _items([paths[place] for place in embedded.places], images)
        skipped = unreadable + embedded.skipped + vanished
        write_skipped(folder / SKIPPED_FILE, skipped)
        check_bad(skipped, len(paths) + len(unreadable), max_bad)
        ids = np.arange(len(items), dtype=np.int64)
        built = KINDS[kind](np.ascontiguousarray(embedded.vectors[rows]), ids)
        segment = write_segment(folder, _next_name(folder), images, built.faiss_index, items)
        manifest = Manifest(
            bundle=_relative(bundle.folder, folder),
            bundle_fingerprint=bundle.config.fingerprint,
            precision=bundle.precision,
            preprocessing=bundle.preprocessing.digest(),
            dimensions=bundle.config.dimensions,
            count=len(items),
            kind=kind,
            parameters=built.parameters,
            recall_at_10=built.recall_at_10,
            next_id=len(items),
            segments=[segment],
        )
        manifest.write(folder)
        _remove_unnamed(folder, [segment.name])
    return BuildReport(manifest, skipped)


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            yield
    except Timeout:
        raise FgembedError(
            f"another process is writing {folder}; wait for it to end, then try again"
        ) from None


def _items(paths: Sequence[Path], root: Path) -> tuple[list[Item], list[int], list[Skipped]]:
    """What the index keeps of each picture, the rows of their vectors, and what has vanished."""
    items: list[Item] = []
    rows, vanished = [], []
    for row, path in enumerate(paths):
        try:
            status, checksum = path.stat(), sha256(path)
        except OSError as error:
            vanished.append(Skipped(path, error.strerror or "cannot be read"))
            continue
        name = path.relative_to(root).as_posix()
        items.append(Item(len(items), name, checksum, status.st_size, status.st_mtime_ns))
        rows.append(row)
    return items, rows, vanished


def _next_name(folder: Path) -> str:
    """A segment name that no folder has, not even one that a crash left."""
    used = [int(path.name[4:]) for path in folder.glob("seg-*") if path.name[4:].isdigit()]
    return f"seg-{max(used, default=0) + 1:06}"


def _remove_unnamed(folder: Path, names: Sequence[str]) -> None:
    for path in folder.glob("seg-*"):
        if path.name not in names:
            shutil.rmtree(path, ignore_errors=True)


def _relative(bundle: Path, folder: Path) -> str:
    return Path(os.path.relpath(bundle.resolve(), folder.resolve())).as_posix()
