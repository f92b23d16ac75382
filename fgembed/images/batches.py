"""Images as a stream of batches with their positions; unreadable ones are skipped and listed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from fgembed.errors import ImageError
from fgembed.images.decoding import READING, Pixels, load_rgb
from fgembed.images.image_file import ImageFile
from fgembed.images.preprocessing import Preprocessing, read_image
from fgembed.images.skipped import Skipped

Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass
class ImageBatches:
    """Iterates (positions in `images`, pixels (B, size, size, 3) uint8), and fills `skipped`.

    Attributes:
        images: what to read; batches keep this order.
        spec: the preprocessing.
        batch_size: images in a batch; the last one may be smaller.
        threads: decoder threads (Pillow decodes outside Python's interpreter lock); with 0 the
            consumer's thread decodes.
        skipped: images that could not be read so far.
    """

    images: Sequence[ImageFile]
    spec: Preprocessing
    batch_size: int = 32
    threads: int = 2
    skipped: list[Skipped] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[list[int], Pixels]]:
        positions: list[int] = []
        pixels: list[Pixels] = []
        results = prefetch(self._read, self.images, self.threads, 2 * self.batch_size)
        for position, result in enumerate(results):
            if isinstance(result, Skipped):
                self.skipped.append(result)
                continue
            positions.append(position)
            pixels.append(result)
            if len(positions) == self.batch_size:
                yield positions, np.stack(pixels)
                positions, pixels = [], []
        if positions:
            yield positions, np.stack(pixels)

    def _read(self, image: ImageFile) -> Pixels | Skipped:
        try:
            return read_image(image if isinstance(image, Path) else image.open(), self.spec)
        except ImageError as error:
            return Skipped.of(Path(str(image)), error)


def split_readable(
    paths: Sequence[Path], at_least: int, threads: int = 2, reading: int = READING
) -> tuple[list[Path], list[Skipped]]:
    """Decodes every image once; returns the readable ones and the others.

    Args:
        paths: the images.
        at_least: a JPEG is decoded at a reduced scale with at least this many pixels a side.
        threads: decoder threads.
        reading: see `Preprocessing.version`.
    """

    def skipped_or_none(path: Path) -> Skipped | None:
        try:
            load_rgb(path, at_least, reading)
        except ImageError as error:
            return Skipped.of(path, error)
        return None

    results = list(prefetch(skipped_or_none, paths, threads, 64))
    readable = [path for path, bad in zip(paths, results, strict=True) if bad is None]
    return readable, [bad for bad in results if bad is not None]


def prefetch(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, window: int
) -> Iterator[Result]:
    """The results of `function` in order, computed in threads up to `window` items ahead.

    With 0 threads, each is computed when it is taken.

    Example:
        >>> list(prefetch(abs, [-3, 2, -1], threads=2, window=2))
        [3, 2, 1]
    """
    if threads == 0:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > window:
                yield pending.popleft().result()
        for future in pending:
            yield future.result()
