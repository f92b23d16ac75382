"""Calibrates encoders that share a backbone: their levels' centre and last layer, without labels.

Once fitted, nothing depends on other images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.cores import core_count
from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import FgembedError, IntegrityError
from fgembed.images.batches import ImageBatches
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings, fitted_layer
from fgembed.model.reading.whitening import NEEDED, TooFewDirectionsError, Whitening

SAMPLE = 4096  # images that a fit takes; the vectors of all of them are in memory
BATCH_SIZE = 64
SMALL = 64  # pixels; networks halve the side five times

PooledByName = Callable[[Pixels], Mapping[str, Tensor]]


@dataclass(frozen=True)
class PooledSample:
    """Pooled vectors of the readable images of a sample.

    Attributes:
        positions: (N) of the images in the sample, ascending.
        vectors: (N, P) by the encoder's name; empty where no image is readable.
        distinct: how many images differ, counted up to `NEEDED`.
    """

    positions: list[int]
    vectors: dict[str, Tensor]
    distinct: int

    def only(self, positions: set[int]) -> "PooledSample":
        """The images at these positions of the sample."""
        rows = [row for row, position in enumerate(self.positions) if position in positions]
        kept = {name: vectors[rows] for name, vectors in self.vectors.items()}
        return PooledSample([self.positions[row] for row in rows], kept, self.distinct)


def calibrate(
    encoders: Mapping[str, Encoder],
    paths: Sequence[Path],
    spec: Preprocessing,
    pooled: PooledByName,
    settings: FitSettings,
    larger_side: int,
    remedy: str = "",
    targets: Tensor | None = None,
    batch_size: int = BATCH_SIZE,
) -> PooledSample:
    """Fits every encoder in place, on at most `SAMPLE` images that are spread evenly over `paths`.

    Args:
        encoders: by name.
        paths: of the images; unreadable ones are left out.
        spec: the preprocessing.
        pooled: gives every encoder's pooled vectors of some pixels, whatever their side.
        settings: of the fit; an encoder without levels is whitened alone.
        larger_side: at which images are read once more for the levels; `spec.size` for not.
        remedy: where an encoder maps different images to one point; by default, of a start.
        targets: (N, D) that the layers predict, by position in `paths`; zero where there is none.
        batch_size: images that are read at once.

    Returns:
        What the layers were fitted to, by position in the sample.

    Raises:
        FgembedError: too few of the images differ, or too few of an encoder's vectors.
        IntegrityError: a vector is not finite.
    """
    chosen = evenly_spaced(len(paths), SAMPLE)
    paths = [paths[position] for position in chosen]
    sample, larger = _pooled_sample(paths, spec, pooled, batch_size), None
    with_levels = any(encoder.levels is not None for encoder in encoders.values())
    if larger_side > spec.size and settings.dimensions and with_levels:
        # As many pixels in a batch: the larger size takes no more memory.
        fewer = batch_of_as_many_pixels(batch_size, spec.size, larger_side)
        larger = _pooled_sample(paths, replace(spec, size=larger_side), pooled, fewer)
        # A file may have become unreadable between the two passes.
        common = set(sample.positions) & set(larger.positions)
        sample, larger = sample.only(common), larger.only(common)
    if targets is not None:
        targets = targets.cpu()[chosen]
        sample = sample.only({p for p in sample.positions if bool(targets[p].any())})
        targets = targets[sample.positions]
    if not sample.positions:
        raise _too_few_images(0, len(paths))
    for name, encoder in encoders.items():
        at_larger = None if larger is None else larger.vectors[name]
        try:
            fit_encoder(encoder, sample.vectors[name], settings, at_larger, targets)
        except TooFewDirectionsError as error:
            if sample.distinct < NEEDED:
                raise _too_few_images(sample.distinct, len(paths)) from None
            raise _one_point(error, remedy or _remedy_of_start(spec.size)) from None
    return sample


def batch_of_as_many_pixels(batch_size: int, side: int, larger_side: int) -> int:
    """The number of images of the larger side that have as many pixels as a batch.

    Example:
        >>> batch_of_as_many_pixels(64, 160, 320)
        16
    """
    return max(1, batch_size * side**2 // larger_side**2)


def fit_encoder(
    encoder: Encoder,
    pooled: Tensor,
    settings: FitSettings,
    larger: Tensor | None,
    targets: Tensor | None = None,
) -> None:
    """Fits an encoder to pooled vectors (N, P), and to those of the images at a larger size.

    With `targets` (N, D), the last layer predicts these.
    """
    levels = encoder.levels
    if levels is None:
        alone = FitSettings(settings.dimensions, shrinkage=1, mean_weight=0, ridge=settings.ridge)
        vectors = F.normalize(pooled, dim=1)
        encoder.whitening = _layer(vectors, vectors.shape[1], alone, None, targets)
        return
    centre = _mean(pooled)
    levels.centre.copy_(centre)
    if larger is not None:
        larger = levels.joined(larger, _mean(larger))
    # By the centre here: the vectors are on the CPU, the encoder may not be.
    joined = levels.joined(pooled, centre)
    encoder.whitening = _layer(joined, levels.whitened, settings, larger, targets)


def _mean(vectors: Tensor) -> Tensor:
    """(N, P) -> (P), summed in float64."""
    return vectors.double().mean(dim=0).to(vectors.dtype)


def _layer(
    vectors: Tensor,
    whitened: int,
    settings: FitSettings,
    larger: Tensor | None,
    targets: Tensor | None,
) -> Whitening | None:
    if not settings.dimensions:
        return None
    return fitted_layer(vectors, whitened, settings, larger, targets)


def _pooled_sample(
    paths: Sequence[Path], spec: Preprocessing, pooled: PooledByName, batch_size: int
) -> PooledSample:
    seen: set[str] = set()
    positions: list[int] = []
    parts: list[Mapping[str, Tensor]] = []
    for batch, pixels in ImageBatches(paths, spec, batch_size, core_count()):
        if len(seen) < NEEDED:
            seen.update(sha256(image.tobytes()).hexdigest() for image in pixels)
        positions += batch
        parts.append({name: vectors.cpu() for name, vectors in pooled(pixels).items()})
        if not all(bool(vectors.isfinite().all()) for vectors in parts[-1].values()):
            raise IntegrityError(
                "the encoder gives vectors that are not finite: its weights are damaged, or its "
                "training diverged",
                "train again with a lower optimiser.learning_rate",
            )
    names = parts[0].keys() if parts else ()
    vectors = {name: torch.cat([part[name] for part in parts]) for name in names}
    return PooledSample(positions, vectors, len(seen))


def _remedy_of_start(size: int) -> str:
    """At 32 px most networks have maps of one position, in which almost all is zero."""
    larger = f"set a larger preprocessing.size ({size} here), such as 128; or " * (size < SMALL)
    return f"{larger}choose another backbone, or backbone.weights that are trained"


def _one_point(error: TooFewDirectionsError, remedy: str) -> FgembedError:
    """The encoder is to blame, not the images."""
    return FgembedError(
        f"the encoder maps training images that differ to one point or one line: {error.fact}",
        remedy,
    )


def _too_few_images(distinct: int, count: int) -> FgembedError:
    """The images are to blame, not the encoder; `distinct` counts up to `NEEDED`."""
    return FgembedError(
        f"only {distinct} of {count} training images differ, and the whitening needs {NEEDED}",
        "add images that differ to the training folder",
    )
