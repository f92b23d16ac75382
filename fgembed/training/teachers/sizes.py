"""At which of its sizes the start teaches: those that the photographs have the pixels for."""

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from statistics import median

from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import ImageError
from fgembed.images.decoding import decode
from fgembed.images.preprocessing import Preprocessing
from fgembed.training.preparation import Prepared

ENLARGED = 1.5  # times the side of the photographs; docs/adaptation.md shows what larger ones give
SAMPLE = 32  # images


def taught_sizes(prepared: Prepared, paths: Sequence[Path]) -> tuple[float, ...]:
    """The method's `target_sizes` without those that would enlarge the photographs too much.

    An enlarged photograph shows nothing new, and its edges and textures at a scale that the
    network does not know. The smallest size stays.

    Args:
        prepared: the run.
        paths: of the photographs.
    """
    sizes, spec = prepared.method.target_sizes, prepared.config.preprocessing
    if len(sizes) < 2:
        return sizes
    photographs = typical_side(paths, replace(spec, size=round(spec.size * max(sizes))))
    return tuple(
        size
        for size in sizes
        if size == min(sizes) or photographs is None or size * spec.size <= ENLARGED * photographs
    )


def typical_side(paths: Sequence[Path], spec: Preprocessing) -> float | None:
    """The input's side, in pixels, at which the median photograph of a sample is not enlarged.

    Args:
        paths: of the photographs; the sample is spread over them.
        spec: how they become the input; what is larger than that is told no more exactly.

    Returns:
        None if none of the sample can be read.
    """
    sides = []
    for position in evenly_spaced(len(paths), SAMPLE):
        try:
            image = decode(paths[position], spec.draft * spec.size, spec.version).image
        except ImageError:
            continue
        sides.append(_side(image.width, image.height, spec))
    return median(sides) if sides else None


def _side(width: int, height: int, spec: Preprocessing) -> float:
    if spec.fit == "pad":
        return max(width, height)
    if spec.fit == "crop":
        return min(width, height) * spec.crop_ratio
    return sqrt(width * height)
