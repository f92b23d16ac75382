"""Images become vectors in bulk; rows never shift, and unreadable images are listed apart."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.errors import IntegrityError
from fgembed.images.batches import ImageBatches, prefetch
from fgembed.images.decoding import Pixels
from fgembed.images.image_file import ImageFile
from fgembed.images.preprocessing import Preprocessing
from fgembed.images.skipped import Skipped
from fgembed.progress import ReportCount, silent


@dataclass(frozen=True)
class BulkResult:
    """Unit vectors (N, D) of the images at `positions`; `skipped` could not be read."""

    positions: list[int]
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
    images: Sequence[ImageFile],
    spec: Preprocessing,
    *,
    batch_size: int = 32,
    workers: int = 0,
    report: ReportCount = silent,
) -> BulkResult:
    """The vectors of the images that can be read, in their order.

    Args:
        embed: (B, size, size, 3) uint8 -> (B, D).
        images: files, or members of tar files.
        spec: the preprocessing.
        batch_size: images that `embed` takes at once.
        workers: threads that each decode a batch and embed it, for an `embed` that uses one core
            and is thread-safe; 0 embeds in this thread while others decode.
        report: takes how many images are done, of how many.

    Raises:
        IntegrityError: the model's vectors are not finite.
    """

    def batches(first: int, count: int, threads: int) -> Iterator[BulkResult]:
        chunk = ImageBatches(images[first : first + count], spec, batch_size, threads)
        reported = 0
        for positions, pixels in chunk:
            vectors = finite(embed(pixels))
            skipped = chunk.skipped[reported:]
            yield BulkResult([first + position for position in positions], vectors, skipped)
            reported = len(chunk.skipped)
        yield BulkResult([], np.zeros((0, 0), np.float32), chunk.skipped[reported:])

    if not workers:
        return _joined(batches(0, len(images), core_count()), len(images), report)
    results = prefetch(
        lambda first: list(batches(first, batch_size, 0)),
        range(0, len(images), batch_size),
        threads=workers,
        window=2 * workers,
    )
    return _joined(chain.from_iterable(results), len(images), report)


def _joined(batches: Iterable[BulkResult], total: int, report: ReportCount) -> BulkResult:
    """One result of all batches; reports the position of the last image in each."""
    positions, skipped, vectors = list[int](), list[Skipped](), list[Vectors]()
    for batch in batches:
        positions += batch.positions
        skipped += batch.skipped
        if batch.positions:
            vectors.append(batch.vectors)
            report(batch.positions[-1] + 1, total)
    joined = np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32)
    return BulkResult(positions, joined, skipped)


def embed_paths(
    embed: Callable[[Pixels], Vectors],
    paths: Sequence[Path],
    spec: Preprocessing,
    batch_size: int = 32,
) -> Embedded:
    """`embed_images` on files, decoded ahead while this thread embeds."""
    return embedded(embed_images(embed, paths, spec, batch_size=batch_size), paths)


def embedded(result: BulkResult, paths: Sequence[Path]) -> Embedded:
    """The result with the paths of its images instead of their positions."""
    return Embedded(
        [paths[position] for position in result.positions], result.vectors, result.skipped
    )


def finite(vectors: Vectors) -> Vectors:
    """The same vectors, checked.

    Raises:
        IntegrityError: a component is not finite; such a score would sort as near to anything.

    Example:
        >>> import numpy as np
        >>> finite(np.array([[1.0, np.nan]]))
        Traceback (most recent call last):
        fgembed.errors.IntegrityError: the model gives vectors that are not finite: ...
    """
    if not np.isfinite(vectors).all():
        raise IntegrityError(
            "the model gives vectors that are not finite: its weights are damaged, or its training "
            "diverged",
            "train or export it again",
        )
    return vectors
