"""PCA whitening: the principal directions of vectors, and the linear layer of an encoder."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.errors import FgembedError

NEEDED = 3  # vectors that differ; in one dimension 2 are enough
RANK_TOLERANCE = 1e-10  # of the largest eigenvalue; smaller ones are rounding errors


class TooFewDirectionsError(FgembedError):
    """The vectors hardly differ: because their images do not, or because of the encoder."""


class Whitening(nn.Module):
    """An encoder's last layer: y = (x - mean) projection; `fitting` fits it."""

    mean: Tensor
    projection: Tensor

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("projection", torch.eye(channels, dimensions))

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, C) -> (B, D)."""
        return (vectors - self.mean) @ self.projection


@dataclass(frozen=True)
class Spectrum:
    """The directions in which vectors vary most, in float64.

    Attributes:
        mean: (C).
        eigenvalues: (R) of the covariance, the largest first.
        directions: (C, R), of unit length.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
        >>> Spectrum.of(vectors, 2).eigenvalues
        tensor([2.0000, 0.5000], dtype=torch.float64)
    """

    mean: Tensor
    eigenvalues: Tensor
    directions: Tensor

    @classmethod
    def of(cls, vectors: Tensor, dimensions: int) -> "Spectrum":
        """The spectrum of (N, C) vectors, of at most `dimensions` and at most N - 1.

        For N < C it is found from their N x N products: a ResNet-50's three levels have 8,192
        dimensions, and decomposing that covariance takes minutes.

        Raises:
            TooFewDirectionsError: fewer than 3 of the vectors differ.
        """
        exact = vectors.detach().to("cpu", torch.float64)
        count, channels = exact.shape
        mean = exact.mean(dim=0)
        centred = exact - mean
        if count < channels:
            eigenvalues, weights = torch.linalg.eigh(centred @ centred.T / count)
        else:
            eigenvalues, weights = torch.linalg.eigh(centred.T @ centred / count)
        rank = _rank(eigenvalues, dimensions, count)
        leading = weights.flip(1)[:, :rank]
        directions = F.normalize(centred.T @ leading, dim=0) if count < channels else leading
        return cls(mean, eigenvalues.flip(0)[:rank], directions)

    def whitening(self, shrinkage: float) -> Tensor:
        """(C, R): directions / sqrt(eigenvalue + shrinkage x mean eigenvalue)."""
        shrunk = self.eigenvalues + shrinkage * self.eigenvalues.mean() + 1e-12
        return self.directions * shrunk.rsqrt()


def _rank(eigenvalues: Tensor, dimensions: int, count: int) -> int:
    """Number of directions to keep: only those in which the vectors differ.

    Raises:
        TooFewDirectionsError: fewer than 2 remain.
    """
    varying = int((eigenvalues > RANK_TOLERANCE * eigenvalues.max()).sum())
    rank = min(dimensions, varying, count - 1)
    if rank < 2 <= dimensions or not float(eigenvalues.max()) > RANK_TOLERANCE:
        raise TooFewDirectionsError(
            f"the whitening needs {NEEDED} vectors that differ, and those of {count} images span "
            f"{max(rank, 0)} dimensions",
            "add images that differ to the training folder",
        )
    return rank
