"""PCA whitening, and the calibration that fits it and the levels' centre on unlabelled images.

Both are fitted once, in one pass; at inference no image depends on another.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.errors import FgembedError, IntegrityError
from fgembed.model.multi_level import MultiLevelPooling, join_levels

NEEDED = 3  # vectors that differ; in one dimension 2 are enough
RANK_TOLERANCE = 1e-10  # of the largest eigenvalue; smaller ones are rounding errors
CENTRE_SAMPLE = 4096  # vectors that estimate the centre; exact for sets up to this size


class TooFewDirectionsError(FgembedError):
    """The vectors hardly differ: because their images do not, or because of the encoder."""


class Whitening(nn.Module):
    """PCA whitening with shrinkage s: y = (x - mean) U / sqrt(eigenvalue + s x mean eigenvalue).

    The mean eigenvalue is over the selected directions U.
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
    """Mean and covariance of vectors that come in batches, in float64; memory C x C.

    Example:
        >>> statistics = CovarianceSum(2)
        >>> statistics.add(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]))
        >>> statistics.whitening(2, shrinkage=0.0)(torch.tensor([[0.0, 2.0]])).abs()
        tensor([[1.4142, 0.0000]])
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.total = torch.zeros(channels, dtype=torch.float64)
        self.products = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, vectors: Tensor) -> None:
        """Adds (B, C) vectors."""
        exact = vectors.detach().to("cpu", torch.float64)
        self.count += len(exact)
        self.total += exact.sum(dim=0)
        self.products += exact.T @ exact

    def whitening(self, dimensions: int, shrinkage: float) -> Whitening:
        """The whitening of the added vectors, to at most `dimensions` and at most count - 1.

        Raises:
            TooFewDirectionsError: fewer than 3 of the vectors differ.
        """
        mean = self.total / self.count
        covariance = self.products / self.count - torch.outer(mean, mean)
        eigenvalues, directions = torch.linalg.eigh(covariance)
        rank = _rank(eigenvalues, dimensions, self.count)
        return _whitening(mean, eigenvalues.flip(0)[:rank], directions.flip(1)[:, :rank], shrinkage)


def fitted_whitening(vectors: Tensor, dimensions: int, shrinkage: float) -> Whitening:
    """The whitening of (N, C) vectors in memory; for N < C from their N x N products.

    A ResNet-50's three levels have 8,192 dimensions: decomposing that covariance takes minutes.

    Raises:
        TooFewDirectionsError: fewer than 3 of the vectors differ.
    """
    if vectors.shape[0] >= vectors.shape[1]:
        statistics = CovarianceSum(vectors.shape[1])
        statistics.add(vectors)
        return statistics.whitening(dimensions, shrinkage)
    exact = vectors.detach().to("cpu", torch.float64)
    mean = exact.mean(dim=0)
    centred = exact - mean
    eigenvalues, weights = torch.linalg.eigh(centred @ centred.T / len(exact))
    rank = _rank(eigenvalues, dimensions, len(exact))
    directions = F.normalize(centred.T @ weights.flip(1)[:, :rank], dim=0)
    return _whitening(mean, eigenvalues.flip(0)[:rank], directions, shrinkage)


def _rank(eigenvalues: Tensor, dimensions: int, count: int) -> int:
    """Number of directions to whiten: only those in which the vectors differ.

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


def _whitening(
    mean: Tensor, eigenvalues: Tensor, directions: Tensor, shrinkage: float
) -> Whitening:
    scale = (eigenvalues + shrinkage * eigenvalues.mean() + 1e-12).rsqrt()
    channels, dimensions = directions.shape
    whitening = Whitening(channels, dimensions)
    whitening.mean.copy_(mean)
    whitening.projection.copy_(directions * scale)
    return whitening


class Calibration:
    """Fits the levels' centre and the whitening on pooled vectors that come in batches.

    Memory: P x P and `CENTRE_SAMPLE` x P. The covariance is of joined vectors, and joining needs
    the centre. The centre is the mean of the first `CENTRE_SAMPLE` vectors, so add them in random
    order.
    """

    def __init__(self, levels: MultiLevelPooling | None) -> None:
        self.levels = levels
        self._uncentred: list[Tensor] = []
        self._uncentred_count = 0
        self._sum: CovarianceSum | None = None

    def add(self, pooled: Tensor) -> None:
        """Adds (B, P) pooled vectors.

        Raises:
            IntegrityError: a value is not finite.
        """
        if not bool(pooled.isfinite().all()):
            raise IntegrityError(
                "the encoder gives vectors that are not finite: its weights are damaged, or its "
                "training diverged",
                "train again with a lower optimiser.learning_rate",
            )
        if self._sum is not None:
            self._sum.add(join_levels(pooled, self.levels))
            return
        self._uncentred.append(pooled)
        self._uncentred_count += len(pooled)
        if self._uncentred_count >= CENTRE_SAMPLE:
            self._sum = CovarianceSum(pooled.shape[1])
            for vectors in self._centre_and_join():
                self._sum.add(vectors)

    def finish(self, dimensions: int, shrinkage: float) -> Whitening | None:
        """The whitening, None for 0 dimensions; centres the levels of a small set.

        Raises:
            TooFewDirectionsError: fewer than 3 of the vectors differ.
        """
        if self._sum is not None:
            return self._sum.whitening(dimensions, shrinkage) if dimensions else None
        vectors = torch.cat(self._centre_and_join())
        return fitted_whitening(vectors, dimensions, shrinkage) if dimensions else None

    def _centre_and_join(self) -> list[Tensor]:
        batches, self._uncentred = self._uncentred, []
        if self.levels is not None:
            total = torch.stack([pooled.double().sum(dim=0) for pooled in batches]).sum(dim=0)
            self.levels.centre.copy_(total / self._uncentred_count)
        return [join_levels(pooled, self.levels) for pooled in batches]
