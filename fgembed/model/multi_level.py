"""Multi-level pooling: mean and deviation of inner stages beside the last map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiLevelPooling(nn.Module):
    """Inner levels beside the last: mean and standard deviation of each map, one vector.

    Each part is centred by the set's mean and made unit length, so that no level drowns another;
    inner ones are weighted by `weight`, and all are concatenated. Read so and whitened, an
    untouched network finds more than by its last map alone (docs/adaptation.md).
    """

    centre: Tensor

    def __init__(self, inner: Sequence[int], last: int, weight: float) -> None:
        """Of `inner` levels' channels and of `last` dimensions pooled from the last map."""
        super().__init__()
        self.sizes = [*(2 * channels for channels in inner), last]
        self.weights = [*(weight for _ in inner), 1.0]
        self.register_buffer("centre", torch.zeros(sum(self.sizes)))

    def pool(self, inner: Sequence[Tensor], last: Tensor) -> Tensor:
        """Maps (B, C_l, h_l, w_l) and the last map's vector (B, C) -> (B, P), not yet joined."""
        return torch.cat([*(mean_and_deviation(level) for level in inner), last], dim=1)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, P) -> (B, P): parts centred, unit length, weighted."""
        parts = torch.split(pooled - self.centre, self.sizes, dim=1)
        weighted = [
            weight * F.normalize(part, dim=1)
            for part, weight in zip(parts, self.weights, strict=True)
        ]
        return torch.cat(weighted, dim=1)


def joined(pooled: Tensor, levels: MultiLevelPooling | None) -> Tensor:
    """(B, P) pooled -> (B, P), unit length: what is whitened."""
    return F.normalize(pooled if levels is None else levels(pooled), dim=1)


def mean_and_deviation(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, 2 C), over positions; the deviation of N, not of N - 1."""
    mean = features.mean(dim=(2, 3))
    variance = (features - mean[..., None, None]).square().mean(dim=(2, 3))
    # Not differentiable where a channel is constant, but for this floor.
    return torch.cat([mean, variance.clamp(min=1e-12).sqrt()], dim=1)
