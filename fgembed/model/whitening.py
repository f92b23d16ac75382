"""What is fitted on unlabelled pictures: levels joined to one vector, and whitened.

Both are picture by picture at inference; what they know of the set is fixed once, in one pass.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.errors import FgembedError, IntegrityError
from fgembed.model.multi_level import MultiLevelPooling, joined

RANK_TOLERANCE = 1e-10  # of the largest eigenvalue; below it is what rounding leaves
CENTRE_SAMPLE = 4096  # vectors held while the centre is not known: exact for sets up to that


class Whitening(nn.Module):
    """PCA whitening with shrinkage: y = (x - mean) U / sqrt(eigenvalue + s x mean eigenvalue).

    The mean is that of the eigenvalues that are kept.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("projection", torch.eye(channels, dimensions))

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, C) -> (B, D)."""
        return (vectors - self.mean) @ self.projection


class CovarianceSum:
    """Mean and covariance of vectors seen a batch at a time, in float64, memory C x C."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, vectors: Tensor) -> None:
        """Takes in (B, C) vectors."""
        exact = vectors.detach().to("cpu", torch.float64)
        self.count += len(exact)
        self.total += exact.sum(dim=0)
        self.products += exact.T @ exact

    def whitening(self, dimensions: int, shrinkage: float) -> Whitening:
        """The whitening of what was seen, to at most `dimensions` and at most count - 1."""
        mean = self.total / self.count
        covariance = self.products / self.count - torch.outer(mean, mean)
        eigenvalues, directions = torch.linalg.eigh(covariance)
        kept = _rank(eigenvalues, dimensions, self.count)
        return _whitening(mean, eigenvalues.flip(0)[:kept], directions.flip(1)[:, :kept], shrinkage)


def fitted_whitening(vectors: Tensor, dimensions: int, shrinkage: float) -> Whitening:
    """The whitening of (N, C) vectors held at once; where N < C by their N x N products.

    A ResNet-50's three levels are 8,192 long, whose covariance takes minutes to decompose.
    """
    if vectors.shape[0] >= vectors.shape[1]:
        statistics = CovarianceSum(vectors.shape[1])
        statistics.add(vectors)
        return statistics.whitening(dimensions, shrinkage)
    exact = vectors.detach().to("cpu", torch.float64)
    mean = exact.mean(dim=0)
    centred = exact - mean
    eigenvalues, weights = torch.linalg.eigh(centred @ centred.T / len(exact))
    kept = _rank(eigenvalues, dimensions, len(exact))
    directions = F.normalize(centred.T @ weights.flip(1)[:, :kept], dim=0)
    return _whitening(mean, eigenvalues.flip(0)[:kept], directions, shrinkage)


def _rank(eigenvalues: Tensor, dimensions: int, count: int) -> int:
    """How many directions are kept: none in which the vectors do not differ.

    Raises:
        FgembedError: fewer than 2 are left.
    """
    differ = int((eigenvalues > RANK_TOLERANCE * eigenvalues.max()).sum())
    kept = min(dimensions, differ, count - 1)
    if kept < 2 <= dimensions or not float(eigenvalues.max()) > RANK_TOLERANCE:
        raise FgembedError(
            f"the whitening needs at least 3 pictures that differ, and {count} were given that "
            f"span {max(kept, 0)} dimensions",
            "give more pictures",
        )
    return kept


def _whitening(
    mean: Tensor, eigenvalues: Tensor, directions: Tensor, shrinkage: float
) -> Whitening:
    scale = (eigenvalues + shrinkage * eigenvalues.mean() + 1e-12).rsqrt()
    whitening = Whitening(*directions.shape)
    whitening.mean.copy_(mean)
    whitening.projection.copy_(directions * scale)
    return whitening


class Calibration:
    """Fits levels and whitening on pooled vectors seen a batch at a time.

    In memory P x P and `CENTRE_SAMPLE` x P. The covariance is of joined vectors, and joining
    needs the centre, which is the mean of the first `CENTRE_SAMPLE`: give them in random order.
    """

    def __init__(self, levels: MultiLevelPooling | None) -> None:
        self.levels = levels
        self._waiting: list[Tensor] = []
        self._waiting_count = 0
        self._sum: CovarianceSum | None = None

    def add(self, pooled: Tensor) -> None:
        """Takes in (B, P) pooled vectors.

        Raises:
            IntegrityError: they are not all finite.
        """
        if not bool(pooled.isfinite().all()):
            raise IntegrityError(
                "the encoder gives vectors that are not finite: its weights are damaged, or its "
                "training diverged",
                "train again with a lower optimiser.learning_rate",
            )
        if self._sum is not None:
            self._sum.add(joined(pooled, self.levels))
            return
        self._waiting.append(pooled)
        self._waiting_count += len(pooled)
        if self._waiting_count >= CENTRE_SAMPLE:
            self._sum = CovarianceSum(pooled.shape[1])
            for vectors in self._joined():
                self._sum.add(vectors)

    def finish(self, dimensions: int, shrinkage: float) -> Whitening | None:
        """Centres the levels if that is still to do; the whitening, None for 0 dimensions."""
        if self._sum is not None:
            return self._sum.whitening(dimensions, shrinkage) if dimensions else None
        vectors = torch.cat(self._joined())
        return fitted_whitening(vectors, dimensions, shrinkage) if dimensions else None

    def _joined(self) -> list[Tensor]:
        if self.levels is not None:
            total = torch.stack([pooled.double().sum(dim=0) for pooled in self._waiting]).sum(dim=0)
            self.levels.centre.copy_(total / self._waiting_count)
        waiting, self._waiting = self._waiting, []
        return [joined(pooled, self.levels) for pooled in waiting]
