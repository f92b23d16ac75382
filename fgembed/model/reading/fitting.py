"""Fits an encoder's last layer to a set of images, without labels and in closed form.

1. The joined levels, PCA-whitened with shrinkage, and the centred mean of the last map stand
   side by side, so that the cosines of both are added; their principal directions are kept.
2. That is done for the images at the encoder's own size and at a larger one, and both stand side
   by side in their turn. Ridge regression from the vectors at the own size to it is the layer.

Whitening alone raises recall@1 and loses mAP: the first hit is right and the page of hits is not.
The mean beside it keeps the page, and the larger size raises both (docs/adaptation.md).
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.config import PoolingSettings
from fgembed.images.preprocessing import LARGEST_SIDE
from fgembed.model.reading.whitening import Spectrum, Whitening

WHITENED = 512  # directions of the levels, at most
REGRESSED = 1024  # directions that the regression takes, at most
SIDE_STEP = 32  # pixels
TAUGHT_RIDGE = 0.1  # in the units of `ridge`


@dataclass(frozen=True)
class FitSettings:
    """How much a fit shrinks, and what it puts beside the whitened levels.

    Attributes:
        dimensions: of an embedding, at most.
        shrinkage: added to each eigenvalue, in units of the mean of the kept ones.
        mean_weight: of the mean's cosine, where the whitened levels' has 1.
        larger: the larger size at which images are read once more, relative; 1 for none.
        ridge: of the regression to both sizes, in units of the mean of the kept eigenvalues.
    """

    dimensions: int = 512
    shrinkage: float = 3.0
    mean_weight: float = 1.0
    larger: float = 1.4
    ridge: float = 0.03

    @classmethod
    def of(cls, settings: PoolingSettings) -> "FitSettings":
        """Those of a run."""
        return cls(
            settings.whitening,
            settings.shrinkage,
            settings.mean_weight,
            settings.larger,
            settings.ridge,
        )

    def to_targets(self) -> "FitSettings":
        """Those of the regression to a teacher's vectors, which shrinks more."""
        return replace(self, ridge=TAUGHT_RIDGE)

    def larger_side(self, side: int) -> int:
        """The larger size for images of `side` px, in steps of 32 px, the stride of most networks.

        Example:
            >>> FitSettings(larger=1.4).larger_side(160)
            224
        """
        if self.larger == 1:
            return side
        return min(SIDE_STEP * round(self.larger * side / SIDE_STEP), LARGEST_SIDE)


def fitted_layer(
    vectors: Tensor,
    whitened: int,
    settings: FitSettings,
    larger: Tensor | None = None,
    targets: Tensor | None = None,
) -> Whitening:
    """The last layer for joined vectors (N, P), of which the first `whitened` are the levels.

    Args:
        vectors: of N images, with the mean of the last map in the remaining dimensions, if any.
        whitened: dimensions of the levels.
        settings: of the fit.
        larger: (N, P) of the same images read at a larger size.
        targets: (N, D) unit vectors that the layer predicts in place of those at a larger size.

    Raises:
        TooFewDirectionsError: fewer than 3 of the vectors differ.
    """
    exact = vectors.double()
    if targets is None:
        mean, layer = _side_by_side(exact, whitened, settings)
        if larger is not None:
            own = F.normalize((exact - mean) @ layer, dim=1)
            larger_mean, larger_layer = _side_by_side(larger.double(), whitened, settings)
            of_larger = F.normalize((larger.double() - larger_mean) @ larger_layer, dim=1)
            both = torch.cat([own, of_larger], dim=1)
            targets = both @ Spectrum.of(both, settings.dimensions).directions
    if targets is not None:
        mean, layer = _regression(exact, targets.double(), settings.ridge)
    result = Whitening(*layer.shape)
    result.mean.copy_(mean)
    result.projection.copy_(layer)
    return result


def _side_by_side(vectors: Tensor, whitened: int, settings: FitSettings) -> tuple[Tensor, Tensor]:
    """The mean (P) of vectors, and the layer (P, D) of whitened levels beside the mean."""
    beside = vectors.shape[1] - whitened
    alone = beside == 0 or settings.mean_weight == 0
    limit = settings.dimensions if alone else WHITENED
    whitening = Spectrum.of(vectors[:, :whitened], limit).whitening(settings.shrinkage)
    mean = vectors.mean(dim=0)
    if alone:
        return mean, torch.cat([whitening, whitening.new_zeros(beside, whitening.shape[1])])
    centred = vectors - mean
    scale = _length(centred[:, :whitened] @ whitening).reciprocal()
    weight = settings.mean_weight**0.5 / _length(centred[:, whitened:])
    both = whitening.new_zeros(vectors.shape[1], whitening.shape[1] + beside)
    both[:whitened, : whitening.shape[1]] = scale * whitening
    both[whitened:, whitening.shape[1] :] = weight * torch.eye(beside, dtype=whitening.dtype)
    return mean, both @ Spectrum.of(centred @ both, settings.dimensions).directions


def _length(vectors: Tensor) -> Tensor:
    """Root mean square length of (N, C) vectors."""
    # Of a last map that is zero for every image, as some random networks have, the mean is zero.
    return vectors.square().sum(dim=1).mean().clamp(min=1e-12).sqrt()


def _regression(vectors: Tensor, targets: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """The mean (P) of vectors, and the layer (P, D) that predicts targets (N, D) from them.

    Minimises |(vectors - mean) layer - targets|^2 / N + ridge x mean eigenvalue x |layer|^2, in
    the directions in which the vectors vary most.
    """
    spectrum = Spectrum.of(vectors, REGRESSED)
    coefficients = (vectors - spectrum.mean) @ spectrum.directions
    products = coefficients.T @ (targets - targets.mean(dim=0)) / len(vectors)
    shrunk = spectrum.eigenvalues + ridge * spectrum.eigenvalues.mean()
    return spectrum.mean, spectrum.directions @ (products / shrunk[:, None])
