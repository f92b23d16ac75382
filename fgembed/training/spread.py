"""How far the embeddings of a few fixed training images are apart, compared with the start.

A training collapses if it maps different images to one point, or to very few directions. The loss
does not show it: a contrastive loss of equal vectors is an ordinary number. So the spread of up to
64 images is measured at the end of each epoch, and after steps 1, 2, 4, 8, ... The limits lie far
from what sound trainings were measured to do; see docs/adaptation.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from fgembed.cores import core_count
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.sampling import evenly_spaced
from fgembed.evaluation.metrics import effective_rank
from fgembed.images.batches import ImageBatches
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder, PixelEncoder
from fgembed.model.module_state import evaluation_mode

SPREAD, RANK = "embedding spread", "embedding rank"  # in the log; a loss may have "spread"
SAMPLE = 64
LOWEST_DEVIATION = 0.02  # of the start's
LOWEST_RANK = 0.02  # of the start's, both less 1: a line has rank 1
INDISTINCT = 1e-4  # a start of less deviation tells its images apart too little for a comparison


@dataclass(frozen=True)
class Spread:
    """The spread of unit vectors.

    Attributes:
        deviation: root mean squared distance from their mean, 0 for a single point, at most 1. It
            is the standard deviation of a dimension times the root of their number, as in SimSiam
            (arXiv:2011.10566, section 4.1), there averaged over the dimensions.
        rank: the effective rank about their mean (RankMe, arXiv:2210.02885), 1 for a line.

    Example:
        >>> import numpy as np
        >>> Spread.of(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).deviation
        1.0
        >>> Spread.of(np.array([[1.0, 0.0], [1.0, 0.0]])).deviation
        0.0
    """

    deviation: float
    rank: float

    @classmethod
    def of(cls, vectors: Vectors) -> "Spread":
        """Of unit vectors (N, D); not a number if a value is not finite."""
        if not math.isfinite(float(vectors.sum())):
            return cls(math.nan, math.nan)
        centred = vectors - vectors.mean(axis=0)
        return cls(float((centred**2).sum(axis=1).mean() ** 0.5), effective_rank(vectors))

    def is_finite(self) -> bool:
        """Whether the embeddings were numbers."""
        return math.isfinite(self.deviation)

    def figures(self) -> dict[str, float]:
        """By their names in the log."""
        return {SPREAD: self.deviation, RANK: self.rank}


class SpreadWatch:
    """Measures an encoder on a sample of the training images.

    Attributes:
        encoder: what is trained.
        count: number of images in the sample.
        start: the spread at construction.
    """

    def __init__(
        self,
        encoder: Encoder,
        paths: Sequence[Path],
        spec: Preprocessing,
        device: torch.device,
    ) -> None:
        """Reads the sample. The encoder is to be the untouched start, on `device`."""
        self.encoder = encoder
        sample = [paths[position] for position in evenly_spaced(len(paths), SAMPLE)]
        batches = [pixels for _, pixels in ImageBatches(sample, spec, SAMPLE, core_count())]
        normalised = PixelEncoder(encoder, spec).to(device).normalised
        self._images = [normalised(torch.from_numpy(pixels).to(device)) for pixels in batches]
        self.count = sum(len(images) for images in self._images)
        self.start = self.measure()

    @torch.no_grad()
    def measure(self) -> Spread:
        """The spread now, read as the pooling alone reads the last map, in evaluation mode.

        Leaves random states and every module as they are.
        """
        if not self._images:
            return Spread(math.nan, math.nan)
        with evaluation_mode(self.encoder):
            maps = [self.encoder.backbone.read(images) for images in self._images]
            pooled = torch.cat([self.encoder.pooling(*output) for output in maps])
            vectors: Vectors = F.normalize(pooled.double(), dim=1).cpu().numpy()
        return Spread.of(vectors)

    def has_collapsed(self, spread: Spread) -> bool:
        """Whether different images are hardly told apart any more, or along one line only.

        Never if the start did not tell them apart: then the images are to blame.
        """
        if not self.start.is_finite() or self.start.deviation < INDISTINCT:
            return False
        return (
            not spread.is_finite()
            or spread.deviation < LOWEST_DEVIATION * self.start.deviation
            or spread.rank - 1 < LOWEST_RANK * (self.start.rank - 1)
        )


def is_due(step: int, epoch_ends: bool) -> bool:
    """Whether the spread is measured after so many steps: at epochs' ends, and ever more rarely.

    Example:
        >>> [step for step in range(1, 20) if is_due(step, epoch_ends=False)]
        [1, 2, 4, 8, 16]
    """
    return epoch_ends or step & (step - 1) == 0
