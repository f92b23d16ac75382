"""Multi-level pooling: mean and deviation of inner stages beside the last map."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.config import PoolingSettings


@dataclass(frozen=True)
class Reading:
    """What an encoder reads of its backbone beside the pooled last map.

    Attributes:
        depths: of the inner levels, in shares of the way to the last map.
        level_weight: of each inner level; the last one has 1.
        mean_beside: whether the last map's mean stands beside the levels, for the last layer.
        mirror: whether pooled vectors are averaged over the image and its mirror image, which
            doubles the time.
    """

    depths: tuple[float, ...] = ()
    level_weight: float = 0.5
    mean_beside: bool = False
    mirror: bool = False


PLAIN = Reading()  # the pooled last map alone


def reading_of(settings: PoolingSettings) -> Reading:
    """The reading that a run's settings ask for; a mean beside levels needs the last layer."""
    beside = settings.whitening > 0 and settings.mean_weight > 0
    return Reading(settings.levels, settings.level_weight, beside, settings.mirror)


class MultiLevelPooling(nn.Module):
    """Joins the mean and standard deviation of inner maps with the last map's vector.

    Each part is centred by the mean of the training images and scaled to unit length, so that no
    level dominates. Inner parts are multiplied by a weight, and all are concatenated; the last
    map's mean comes last, where the reading has it.

    Example:
        >>> levels = MultiLevelPooling([64, 128], 512, Reading(mean_beside=True))
        >>> levels.sizes
        [128, 256, 512, 512]
    """

    centre: Tensor

    def __init__(self, inner: Sequence[int], last: int, reading: Reading) -> None:
        """Takes the channels of the inner levels and of the last map."""
        super().__init__()
        beside = [last] if reading.mean_beside else []
        self.sizes = [*(2 * channels for channels in inner), last, *beside]
        self.weights = [*(reading.level_weight for _ in inner), 1.0, *(1.0 for _ in beside)]
        self.whitened = sum(self.sizes) - sum(beside)
        self.register_buffer("centre", torch.zeros(sum(self.sizes)))

    def pool(self, inner: Sequence[Tensor], last: Tensor, features: Tensor) -> Tensor:
        """Inner maps (B, C_l, h_l, w_l), the last map's vector (B, C) and that map -> (B, P)."""
        beside = [features.mean(dim=(2, 3))] if self.whitened < sum(self.sizes) else []
        return torch.cat([*(mean_and_deviation(level) for level in inner), last, *beside], dim=1)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, P) -> (B, P): parts centred, scaled to unit length, weighted."""
        return self.joined(pooled, self.centre)

    def joined(self, pooled: Tensor, centre: Tensor) -> Tensor:
        """As `forward`, with another centre (P)."""
        parts = torch.split(pooled - centre, self.sizes, dim=1)
        weighted = [
            weight * F.normalize(part, dim=1)
            for part, weight in zip(parts, self.weights, strict=True)
        ]
        return F.normalize(torch.cat(weighted, dim=1), dim=1)


def mean_and_deviation(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, 2 C), over positions; the deviation is over N, not N - 1."""
    mean = features.mean(dim=(2, 3))
    variance = (features - mean[..., None, None]).square().mean(dim=(2, 3))
    # Without the clamp the square root has no gradient where a channel is constant.
    return torch.cat([mean, variance.clamp(min=1e-12).sqrt()], dim=1)
