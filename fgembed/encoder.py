"""The encoder: the one thing that is exported."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.backbones import Backbone
from fgembed.images import Preprocessing
from fgembed.pooling import ClassTokenPooling, GeMPooling, MeanPooling, Pooling, Whitening


class Encoder(nn.Module):
    """Backbone, pooling and optional whitening: a picture's unit vector and its rationale."""

    def __init__(
        self, backbone: Backbone, pooling: Pooling, whitening: Whitening | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.whitening = whitening

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, C, h, w)."""
        features: Tensor = self.backbone(images)
        return features

    def pooled(self, features: Tensor, summary: Tensor) -> Tensor:
        """(B, C, h, w) and (B, C) -> (B, C), unit length, before whitening."""
        return F.normalize(self.pooling(features, summary), dim=1)

    def embed(self, features: Tensor, summary: Tensor) -> Tensor:
        """(B, C, h, w) and (B, C) -> (B, D), unit length."""
        vectors = self.pooled(features, summary)
        if self.whitening is not None:
            vectors = F.normalize(self.whitening(vectors), dim=1)
        return vectors

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, D), unit length."""
        return self.embed(*self.backbone.read(images))

    def rationale(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, h, w) in [0, 1]: where the encoder looks."""
        return self.pooling.rationale(self.features(images))

    @property
    def dimensions(self) -> int:
        """D, the length of an embedding."""
        return (
            self.backbone.channels if self.whitening is None else self.whitening.projection.shape[1]
        )


class PixelEncoder(nn.Module):
    """An encoder that takes uint8 pixels; this graph, and no other, is exported and measured."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, spec: Preprocessing) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", 255 * torch.tensor(spec.mean).view(1, 3, 1, 1), False)
        self.register_buffer("std", 255 * torch.tensor(spec.std).view(1, 3, 1, 1), False)

    def normalised(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) normalised float."""
        return (image.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> embedding (B, D) and rationale (B, h, w)."""
        features, summary = self.encoder.backbone.read(self.normalised(image))
        return self.encoder.embed(features, summary), self.encoder.pooling.rationale(features)


def mean_pooled(encoder: Encoder) -> Encoder:
    """The same backbone read by mean pooling alone: the lowest floor."""
    return Encoder(encoder.backbone, MeanPooling())


def best_untouched(backbone: Backbone) -> Encoder:
    """A backbone read as its kind is read best, whitening still to be fitted: the second floor.

    A transformer by its class token; a convolutional network by GeM, or by the mean where its map
    is signed, for GeM takes what is below zero as zero.
    """
    if backbone.has_tokens:
        return Encoder(backbone, ClassTokenPooling())
    return Encoder(backbone, MeanPooling() if backbone.signed else GeMPooling())
