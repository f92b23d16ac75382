"""Pictures as a stream of ready batches: decoded in threads, bad ones set aside.

Rows never shift: each batch says the places of its pictures, and what could not be read is listed.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from fgembed.disk.files import write_text
from fgembed.errors import BadImagesError, ImageError
from fgembed.images.decoding import Pixels, load_rgb
from fgembed.images.finding import Skipped
from fgembed.images.preprocessing import Preprocessing, read_image
from fgembed.images.sources import Picture

Result = TypeVar("Result")
Source = TypeVar("Source")


@dataclass
class ImageBatches:
    """Iterates (places in `pictures`, pixels (B, size, size, 3) uint8); `skipped` fills as it goes.

    Attributes:
        pictures: what to read, in the order in which the batches give them.
        spec: the preprocessing.
        batch_size: pictures in a batch; the last one may be smaller.
        threads: decoder threads (Pillow decodes outside Python's interpreter lock); 0 decodes
            where the batches are taken.
        skipped: pictures that could not be read so far.
    """

    pictures: Sequence[Picture]
    spec: Preprocessing
    batch_size: int = 32
    threads: int = 2
    skipped: list[Skipped] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[list[int], Pixels]]:
        places: list[int] = []
        pixels: list[Pixels] = []
        results = ahead(self._read, self.pictures, self.threads, 2 * self.batch_size)
        for place, result in enumerate(results):
            if isinstance(result, Skipped):
                self.skipped.append(result)
                continue
            places.append(place)
            pixels.append(result)
            if len(places) == self.batch_size:
                yield places, np.stack(pixels)
                places, pixels = [], []
        if places:
            yield places, np.stack(pixels)

    def _read(self, picture: Picture) -> Pixels | Skipped:
        try:
            return read_image(picture if isinstance(picture, Path) else picture.open(), self.spec)
        except ImageError as error:
            return Skipped(Path(str(picture)), error.reason)


def survey(
    paths: Sequence[Path], at_least: int, threads: int = 2
) -> tuple[list[Path], list[Skipped]]:
    """Decodes every picture once and parts the readable from the bad."""

    def check(path: Path) -> Skipped | None:
        try:
            load_rgb(path, at_least)
        except ImageError as error:
            return Skipped(path, error.reason)
        return None

    results = list(ahead(check, paths, threads, 64))
    readable = [path for path, bad in zip(paths, results, strict=True) if bad is None]
    return readable, [bad for bad in results if bad is not None]


def check_bad(skipped: Sequence[Skipped], total: int, max_bad: float) -> None:
    """Refuses to go on when more than the allowed share of the pictures is bad.

    Raises:
        BadImagesError: the share is above `max_bad`, or nothing is left.
    """
    if not skipped or len(skipped) <= min(max_bad * total, total - 1):
        return
    first = f"the first: {str(skipped[0].path)!r} ({skipped[0].reason})"
    if len(skipped) == total:
        raise BadImagesError(f"none of {total} pictures can be read", f"{first}")
    raise BadImagesError(
        f"{len(skipped)} of {total} pictures cannot be read, allowed are {max_bad:.0%}; {first}",
        "repair them, or allow more with --max-bad (in a training --set max_bad=SHARE)",
    )


def write_skipped(file: Path, skipped: Sequence[Skipped]) -> None:
    """Lists the bad pictures as JSON lines with path and reason."""
    lines = [json.dumps({"path": str(bad.path), "reason": bad.reason}) for bad in skipped]
    write_text(file, "".join(line + "\n" for line in lines))


def ahead(
    work: Callable[[Source], Result], sources: Iterable[Source], threads: int, window: int
) -> Iterator[Result]:
    """Results in order, computed in threads at most `window` sources ahead of the reader."""
    if threads == 0:
        yield from map(work, sources)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for source in sources:
            waiting.append(pool.submit(work, source))
            if len(waiting) > window:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()
