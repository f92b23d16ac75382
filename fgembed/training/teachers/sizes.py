"""At which of its sizes the start teaches: those that the photographs have the pixels for."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import median

from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import ImageError
from fgembed.images.decoding import decode
from fgembed.training.preparation import Prepared

ENLARGED = 1.5  # times the side of the photographs; docs/adaptation.md shows what larger ones give
SAMPLE = 32  # images


def taught_sizes(prepared: Prepared) -> tuple[float, ...]:
    """The method's `target_sizes` without those that would enlarge the photographs too much.

    An enlarged photograph shows nothing new, and its edges and textures at a scale that the
    network does not know. The smallest size stays.
    """
    sizes, side = prepared.method.target_sizes, prepared.config.preprocessing.size
    if len(sizes) < 2:
        return sizes
    photographs = typical_side(prepared.paths, at_least=round(side * max(sizes)))
    return tuple(
        size
        for size in sizes
        if size == min(sizes) or photographs is None or size * side <= ENLARGED * photographs
    )


def typical_side(paths: Sequence[Path], at_least: int) -> float | None:
    """The side, in pixels, of a square with as many pixels as the median photograph of a sample.

    Args:
        paths: of the photographs; the sample is spread over them.
        at_least: what is larger is told no more exactly.

    Returns:
        None if none of the sample can be read.
    """
    counts = []
    for position in evenly_spaced(len(paths), SAMPLE):
        try:
            width, height = decode(paths[position], at_least).image.size
        except ImageError:
            continue
        counts.append(width * height)
    return sqrt(median(counts)) if counts else None
