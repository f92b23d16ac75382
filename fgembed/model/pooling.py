"""Poolings of a feature map to a vector, one class per kind.

A pooling maps features (B, C, h, w), or the backbone's summary (B, C), to (B, C). Its rationale
(B, h, w) in [0, 1] is the weight of each position. No image depends on the rest of the batch.
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
    """The base of all poolings; the default rationale is the activation's strength."""

    kind: str

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w), and (B, C) if the kind uses the summary -> (B, C)."""
        raise NotImplementedError

    def rationale(self, features: Tensor) -> Tensor:
        """Length of the feature vector at each position, over the largest: (B, h, w)."""
        strength: Tensor = torch.linalg.vector_norm(features, dim=1)
        return strength / strength.amax(dim=(1, 2), keepdim=True).clamp(min=EPSILON)


class MeanPooling(Pooling):
    """Global average pooling."""

    kind = "mean"

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C)."""
        return features.mean(dim=(2, 3))


class GeMPooling(Pooling):
    """Generalised mean, (mean of x^p)^(1/p) with p = 3 (Radenovic et al., arXiv:1711.02512).

    Example:
        >>> GeMPooling()(torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]]))
        tensor([[0.9086]])
    """

    kind = "gem"
    power = 3.0

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C); features below zero count as zero."""
        powered = features.clamp(min=EPSILON).pow(self.power)
        return powered.mean(dim=(2, 3)).pow(1 / self.power)


class ClassTokenPooling(Pooling):
    """The backbone's summary: a vision transformer's class token, else the mean."""

    kind = "class-token"

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """The summary (B, C)."""
        return features.mean(dim=(2, 3)) if summary is None else summary


class LearnedPooling(Pooling):
    """A pooling with weights, usable only with a method that trains it."""

    def __init__(self, channels: int) -> None:
        super().__init__()


class PredictorPooling(LearnedPooling):
    """LoDisc's predictor on the class token (arXiv:2403.04066), as in its released evaluation."""

    kind = "predictor"
    hidden = 4096
    dropout = 0.2

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.predictor = mlp_head([channels, self.hidden, channels], dropout=self.dropout)

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C), predicted from the summary (B, C) or from the mean of the features."""
        token = features.mean(dim=(2, 3)) if summary is None else summary
        predicted: Tensor = self.predictor(token)
        return predicted


class RationalePooling(LearnedPooling):
    """Features weighted by the common rationale of all images (LCR, arXiv:2303.01669).

    A' = max over K detectors of ReLU(BN(w_k . F)), f = sum A' F / sum A'; where A' is zero all over
    an image, the mean. The released code scales A' from its minimum to its maximum over the
    evaluation batch, so that an embedding depends on its neighbours. The least A' of an image is
    far from zero, so a scale of the image alone would take its least position away, whatever it
    shows; A' itself keeps what the detectors say and depends on no other image.

    Example:
        >>> pooling = RationalePooling(channels=8).eval()
        >>> features = torch.rand(2, 8, 3, 3)
        >>> pooling(features).shape, pooling.rationale(features).shape
        (torch.Size([2, 8]), torch.Size([2, 3, 3]))
    """

    kind = "rationale-bare"

    def __init__(self, channels: int, detectors: int = 32) -> None:
        super().__init__(channels)
        self.detectors = nn.Conv2d(channels, detectors, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(detectors)

    def response(self, features: Tensor) -> Tensor:
        """A', the strongest detector at each position, unscaled: (B, h, w), >= 0."""
        return F.relu(self.norm(self.detectors(features))).amax(dim=1)

    def read(self, response: Tensor) -> Tensor:
        """The weight of each position by A', up to its scale: (B, h, w), >= 0."""
        return response

    def rationale(self, features: Tensor) -> Tensor:
        """The weights over the largest of the image: (B, h, w) in [0, 1]; ones if all are zero."""
        maps = self.read(self.response(features))
        peak = maps.amax(dim=(1, 2), keepdim=True)
        return torch.where(peak > 0, maps / peak.clamp(min=1e-20), torch.ones_like(maps))

    def weights(self, features: Tensor) -> Tensor:
        """The rationale over its sum: (B, 1, h, w)."""
        maps = self.rationale(features)
        return (maps / maps.sum(dim=(1, 2), keepdim=True)).unsqueeze(1)

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C)."""
        return (features * self.weights(features)).sum(dim=(2, 3))


class FloorRationalePooling(RationalePooling):
    """The rationale above the least A' of the training images, a constant of the encoder.

    f = sum max(A' - m, 0) F / sum max(A' - m, 0): what the released code does over a batch,
    independent of it. Until m is calibrated it is 0.
    """

    kind = "rationale-floor"

    def __init__(self, channels: int, detectors: int = 32) -> None:
        super().__init__(channels, detectors)
        self.floor: Tensor
        self.register_buffer("floor", torch.zeros(()))

    def read(self, response: Tensor) -> Tensor:
        """max(A' - m, 0)."""
        return F.relu(response - self.floor)


class ImageRationalePooling(RationalePooling):
    """The rationale from its minimum to its maximum over the image, as earlier encoders read it.

    The least position of every image has no weight. A constant A' gives the mean.
    """

    kind = "rationale"

    def read(self, response: Tensor) -> Tensor:
        """(A' - min) / (max - min); all zero if A' is constant."""
        maps = min_max(response)
        return torch.where(maps.amax(dim=(1, 2), keepdim=True) > 0.5, maps, torch.zeros_like(maps))


class RationaleGeMPooling(RationalePooling):
    """The rationale-weighted generalised mean, (sum A' F^p / sum A')^(1/p) with p = 3.

    Not in the paper: LCR's weights in GeM's mean retrieve better than in the plain mean.
    """

    kind = "rationale-bare-gem"

    def forward(self, features: Tensor, summary: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C); features below zero count as zero."""
        powered = features.clamp(min=EPSILON).pow(GeMPooling.power)
        return (powered * self.weights(features)).sum(dim=(2, 3)).pow(1 / GeMPooling.power)


class FloorRationaleGeMPooling(RationaleGeMPooling, FloorRationalePooling):
    """`RationaleGeMPooling` above the least A' of the training images."""

    kind = "rationale-floor-gem"


class ImageRationaleGeMPooling(RationaleGeMPooling, ImageRationalePooling):
    """`RationaleGeMPooling` as earlier encoders read the rationale."""

    kind = "rationale-gem"


POOLINGS: dict[str, type[Pooling]] = {
    pooling.kind: pooling
    for pooling in (
        MeanPooling,
        GeMPooling,
        ClassTokenPooling,
        PredictorPooling,
        RationalePooling,
        RationaleGeMPooling,
        FloorRationalePooling,
        FloorRationaleGeMPooling,
        ImageRationalePooling,
        ImageRationaleGeMPooling,
    )
}


def pooling_class(kind: str) -> type[Pooling]:
    """The class of a kind of pooling.

    Raises:
        ConfigError: the kind is unknown.
    """
    if kind not in POOLINGS:
        raise ConfigError(f"no pooling.kind {kind!r}", nearest(kind, ["auto", *POOLINGS]))
    return POOLINGS[kind]


def make_pooling(kind: str, channels: int) -> Pooling:
    """A pooling of `kind` for maps with `channels` channels.

    Raises:
        ConfigError: the kind is unknown.
    """
    pooling_type = pooling_class(kind)
    return pooling_type(channels) if issubclass(pooling_type, LearnedPooling) else pooling_type()
