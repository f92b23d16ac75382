"""Pictures become vectors in bulk; rows never shift, and what cannot be read is set aside."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.errors import IntegrityError
from fgembed.images.batches import ImageBatches, prefetch
from fgembed.images.decoding import Pixels
from fgembed.images.finding import Skipped
from fgembed.images.preprocessing import Preprocessing
from fgembed.images.sources import ImageFile
from fgembed.progress import ReportCount, silent


@dataclass(frozen=True)
class BulkResult:
    """Unit vectors (N, D) of the pictures at `places`; `skipped` could not be read."""

    places: list[int]
    vectors: Vectors
    skipped: list[Skipped]


@dataclass(frozen=True)
class Embedded:
    """Unit vectors (N, D) of `paths`; `skipped` could not be read."""

    paths: list[Path]
    vectors: Vectors
    skipped: list[Skipped]


def embed_images(
    embed: Callable[[Pixels], Vectors],
    pictures: Sequence[ImageFile],
    spec: Preprocessing,
    *,
    batch_size: int = 32,
    workers: int = 0,
    report: ReportCount = silent,
) -> BulkResult:
    """The vectors of the pictures that can be read, in their order.

    Args:
        embed: (B, size, size, 3) uint8 -> (B, D).
        pictures: what to read.
        spec: the preprocessing.
        batch_size: pictures that `embed` takes at once.
        workers: threads that each decode a batch and embed it, for an `embed` that uses one core
            and can be called by many; 0 embeds in this thread while others decode.
        report: takes how many pictures are done, of how many.

    Raises:
        IntegrityError: the model gives what is no vector.
    """

    def rows(some: Sequence[ImageFile], first: int, threads: int) -> Iterator[BulkResult]:
        batches, told = ImageBatches(some, spec, batch_size, threads), 0
        for places, pixels in batches:
            vectors = finite(embed(pixels))
            yield BulkResult([first + place for place in places], vectors, batches.skipped[told:])
            told = len(batches.skipped)
        yield BulkResult([], np.zeros((0, 0), np.float32), batches.skipped[told:])

    def share(first: int) -> list[BulkResult]:
        return list(rows(pictures[first : first + batch_size], first, 0))

    found: Iterator[BulkResult]
    if workers:
        starts = range(0, len(pictures), batch_size)
        found = chain.from_iterable(prefetch(share, starts, workers, 2 * workers))
    else:
        found = rows(pictures, 0, core_count())
    together = BulkResult([], np.zeros((0, 0), np.float32), [])
    parts = []
    for few in found:
        together.places.extend(few.places)
        together.skipped.extend(few.skipped)
        if few.places:
            parts.append(few.vectors)
            report(few.places[-1] + 1, len(pictures))
    return replace(together, vectors=np.concatenate(parts)) if parts else together


def embed_paths(
    embed: Callable[[Pixels], Vectors],
    paths: Sequence[Path],
    spec: Preprocessing,
    batch_size: int = 32,
) -> Embedded:
    """`embed_images` on files, decoded ahead while this thread embeds."""
    return embedded(embed_images(embed, paths, spec, batch_size=batch_size), paths)


def embedded(rows: BulkResult, paths: Sequence[Path]) -> Embedded:
    """The rows with the paths of their pictures in place of the places."""
    return Embedded([paths[place] for place in rows.places], rows.vectors, rows.skipped)


def finite(vectors: Vectors) -> Vectors:
    """The vectors, all of whose components are numbers.

    Raises:
        IntegrityError: one is not; sorted by its scores it would be near to anything.
    """
    if not np.isfinite(vectors).all():
        raise IntegrityError(
            "the model gives vectors that are not finite: its weights are damaged, or its training "
            "diverged",
            "train or export it again",
        )
    return vectors
