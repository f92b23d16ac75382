"""From a feature map to a vector: one class a kind, and the whitening that may follow.

A pooling maps features (B, C, h, w), or the backbone's own summary (B, C), to (B, C) and shows
where it looked as a rationale (B, h, w) in [0, 1], picture by picture: nothing here depends on
the rest of the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.errors import ConfigError
from fgembed.model.heads import mlp_head
from fgembed.model.maps import min_max
from fgembed.text import nearest

EPSILON = 1e-6


class Pooling(nn.Module):
    """A feature map's vector; its rationale is by default the activation's strength."""

    kind: str

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w), and (B, C) where the kind reads it -> (B, C)."""
        raise NotImplementedError

    def rationale(self, features: Tensor) -> Tensor:
        """Length of the feature vector at each position, over its largest: (B, h, w)."""
        strength: Tensor = torch.linalg.vector_norm(features, dim=1)
        return strength / strength.amax(dim=(1, 2), keepdim=True).clamp(min=EPSILON)


class MeanPooling(Pooling):
    """Global average pooling."""

    kind = "mean"

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C)."""
        return features.mean(dim=(2, 3))


class GeMPooling(Pooling):
    """Generalised mean, (mean of x^p)^(1/p) with p = 3 (Radenovic et al., arXiv:1711.02512)."""

    kind = "gem"
    power = 3.0

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C); features below zero count as zero."""
        powered = features.clamp(min=EPSILON).pow(self.power)
        return powered.mean(dim=(2, 3)).pow(1 / self.power)


class ClassTokenPooling(Pooling):
    """The backbone's own summary: a vision transformer's class token, else the mean."""

    kind = "class-token"

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """The summary (B, C)."""
        return features.mean(dim=(2, 3)) if summary is None else summary


class LearnedPooling(Pooling):
    """A pooling with weights, which makes sense only after a method that trains it."""

    def __init__(self, channels: int) -> None:
        super().__init__()


class PredictorPooling(LearnedPooling):
    """LoDisc's predictor on the class token (arXiv:2403.04066), as its released code retrieves."""

    kind = "predictor"
    hidden = 4096
    dropout = 0.2

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.predictor = mlp_head([channels, self.hidden, channels], dropout=self.dropout)

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """The prediction from the summary (B, C), or from the mean of the features: (B, C)."""
        token = features.mean(dim=(2, 3)) if summary is None else summary
        predicted: Tensor = self.predictor(token)
        return predicted


class RationalePooling(LearnedPooling):
    """Features weighted by what instances have in common (LCR, arXiv:2303.01669).

    A' = max over K detectors of ReLU(BN(w_k . F)), A = A' between its smallest and largest value,
    f = sum A F / sum A. The released code takes that smallest and largest value over the
    evaluation batch, which ties an embedding to its neighbours; here they are the picture's own,
    so the map is cut off at the picture's smallest A', not at the batch's. Where A' is the same
    everywhere the mean is taken.
    """

    kind = "rationale"

    def __init__(self, channels: int, detectors: int = 32) -> None:
        super().__init__(channels)
        self.detectors = nn.Conv2d(channels, detectors, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(detectors)

    def response(self, features: Tensor) -> Tensor:
        """A', the strongest detector at each position, unscaled: (B, h, w), >= 0."""
        return F.relu(self.norm(self.detectors(features))).amax(dim=1)

    def rationale(self, features: Tensor) -> Tensor:
        """A: (B, h, w) in [0, 1]; one everywhere if A' is the same everywhere."""
        maps = min_max(self.response(features))
        return torch.where(maps.amax(dim=(1, 2), keepdim=True) > 0.5, maps, torch.ones_like(maps))

    def weights(self, features: Tensor) -> Tensor:
        """The rationale over its sum: (B, 1, h, w)."""
        maps = self.rationale(features)
        return (maps / maps.sum(dim=(1, 2), keepdim=True)).unsqueeze(1)

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C)."""
        return (features * self.weights(features)).sum(dim=(2, 3))


class RationaleGeMPooling(RationalePooling):
    """The rationale-weighted generalised mean, (sum A F^p / sum A)^(1/p) with p = 3.

    Not of the paper: LCR's weights in GeM's mean, which for retrieval reads the same features
    better than the plain mean does.
    """

    kind = "rationale-gem"

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C); features below zero count as zero."""
        powered = features.clamp(min=EPSILON).pow(GeMPooling.power)
        return (powered * self.weights(features)).sum(dim=(2, 3)).pow(1 / GeMPooling.power)


POOLINGS: dict[str, type[Pooling]] = {
    pooling.kind: pooling
    for pooling in (
        MeanPooling,
        GeMPooling,
        ClassTokenPooling,
        PredictorPooling,
        RationalePooling,
        RationaleGeMPooling,
    )
}


def pooling_named(kind: str) -> type[Pooling]:
    """The class of a kind of pooling.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in POOLINGS:
        raise ConfigError(f"no pooling.kind {kind!r}", nearest(kind, ["auto", *POOLINGS]))
    return POOLINGS[kind]


def make_pooling(kind: str, channels: int) -> Pooling:
    """A pooling of the given kind for `channels` channels.

    Raises:
        ConfigError: there is no such kind.
    """
    pooling = pooling_named(kind)
    return pooling(channels) if issubclass(pooling, LearnedPooling) else pooling()
