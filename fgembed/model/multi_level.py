"""Multi-level pooling: mean and deviation of inner stages beside the last map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiLevelPooling(nn.Module):
    """Joins the mean and standard deviation of inner maps with the last map's vector.

    Each part is centred by the mean of the training images and scaled to unit length, so that no
    level dominates. Inner parts are multiplied by `weight`, and all are concatenated. With
    whitening this raises the recall of an untouched network (docs/adaptation.md).

    Example:
        >>> levels = MultiLevelPooling([64, 128], 512, weight=0.5)
        >>> levels.sizes
        [128, 256, 512]
    """

    centre: Tensor

    def __init__(self, inner: Sequence[int], last: int, weight: float) -> None:
        """Takes the channels of the inner levels and the dimensions of the last map's vector."""
        super().__init__()
        self.sizes = [*(2 * channels for channels in inner), last]
        self.weights = [*(weight for _ in inner), 1.0]
        self.register_buffer("centre", torch.zeros(sum(self.sizes)))

    def pool(self, inner: Sequence[Tensor], last: Tensor) -> Tensor:
        """Maps (B, C_l, h_l, w_l) and the last map's vector (B, C) -> (B, P), concatenated."""
        return torch.cat([*(mean_and_deviation(level) for level in inner), last], dim=1)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, P) -> (B, P): parts centred, scaled to unit length, weighted."""
        parts = torch.split(pooled - self.centre, self.sizes, dim=1)
        weighted = [
            weight * F.normalize(part, dim=1)
            for part, weight in zip(parts, self.weights, strict=True)
        ]
        return torch.cat(weighted, dim=1)


def join_levels(pooled: Tensor, levels: MultiLevelPooling | None) -> Tensor:
    """(B, P) pooled -> (B, P), unit length: the input of the whitening."""
    return F.normalize(pooled if levels is None else levels(pooled), dim=1)


def mean_and_deviation(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, 2 C), over positions; the deviation is over N, not N - 1."""
    mean = features.mean(dim=(2, 3))
    variance = (features - mean[..., None, None]).square().mean(dim=(2, 3))
    # Without the clamp the square root has no gradient where a channel is constant.
    return torch.cat([mean, variance.clamp(min=1e-12).sqrt()], dim=1)
