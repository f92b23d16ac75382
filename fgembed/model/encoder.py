"""The encoder: the one thing that is exported."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.backbones import Backbone
from fgembed.backbones.levels import Reading
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.multi_level import MultiLevelPooling, joined
from fgembed.model.pooling import ClassTokenPooling, GeMPooling, MeanPooling, Pooling
from fgembed.model.whitening import Whitening


class Encoder(nn.Module):
    """Backbone, pooling, and what may follow: a picture's unit vector and its rationale.

    Attributes:
        backbone: gives the maps.
        pooling: of the last map; where the encoder looks is its rationale.
        depths: where inner levels are read, in shares of the way to the last map.
        levels: joins inner levels to the last one; None where it alone is read.
        whitening: the last layer, once it is fitted.
        mirror: whether pooled vectors are averaged over the picture and its mirror image, which
            takes twice the time.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: Pooling,
        whitening: Whitening | None = None,
        depths: tuple[float, ...] = (),
        level_weight: float = 0.5,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.depths = depths
        self.level_weight = level_weight
        inner = backbone.inner_channels(depths)
        self.levels = MultiLevelPooling(inner, backbone.channels, level_weight) if inner else None
        self.whitening = whitening
        self.mirror = mirror

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, C, h, w)."""
        features: Tensor = self.backbone(images)
        return features

    def pooled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised -> (B, P), and the last map (B, C, h, w) of the pictures."""
        if not self.mirror:
            reading = self.backbone.read_levels(images, self.depths)
            return self.pool(reading), reading.features
        reading = self.backbone.read_levels(with_mirrored(images), self.depths)
        return self.pool_mirrored(reading), reading.features[: images.shape[0]]

    def pool(self, reading: Reading) -> Tensor:
        """A pass of the backbone, its inner maps those of `depths` -> (B, P)."""
        vectors: Tensor = self.pooling(reading.features, reading.summary)
        return vectors if self.levels is None else self.levels.pool(reading.inner, vectors)

    def pool_mirrored(self, reading: Reading) -> Tensor:
        """A pass over pictures `with_mirrored` -> (B, P), averaged over both."""
        return torch.unflatten(self.pool(reading), 0, (2, -1)).mean(dim=0)

    def finish(self, pooled: Tensor) -> Tensor:
        """(B, P) pooled -> (B, D), unit length: joined, then whitened."""
        vectors = joined(pooled, self.levels)
        if self.whitening is not None:
            vectors = F.normalize(self.whitening(vectors), dim=1)
        return vectors

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, D), unit length."""
        return self.finish(self.pooled(images)[0])

    def explained(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised -> embedding (B, D) and rationale (B, h, w), in one pass."""
        pooled, features = self.pooled(images)
        return self.finish(pooled), self.pooling.rationale(features)

    def rationale(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, h, w) in [0, 1]: where the encoder looks."""
        return self.pooling.rationale(self.features(images))

    @property
    def dimensions(self) -> int:
        """D, the length of an embedding."""
        if self.whitening is not None:
            return self.whitening.projection.shape[1]
        return self.backbone.channels if self.levels is None else sum(self.levels.sizes)


class PixelEncoder(nn.Module):
    """An encoder that takes uint8 pixels; this graph, and no other, is exported and measured."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, spec: Preprocessing, dynamic_size: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        # A value for each number of a row of pixels: three at a time ONNX Runtime goes slowly.
        pixels = 1 if dynamic_size else spec.size
        self.register_buffer("mean", 255 * torch.tensor(spec.mean).repeat(pixels), False)
        self.register_buffer("std", 255 * torch.tensor(spec.std).repeat(pixels), False)

    def normalised(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) normalised float."""
        rows = image if len(self.mean) == 3 else image.flatten(2)
        rows = (rows.to(self.mean.dtype) - self.mean) / self.std
        return rows.view(image.shape).permute(0, 3, 1, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> embedding (B, D) and rationale (B, h, w)."""
        return self.encoder.explained(self.normalised(image))


def with_mirrored(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (2 B, 3, H, W): all pictures, then all mirror images."""
    return torch.cat([images, images.flip(3)])


def mean_pooled(encoder: Encoder) -> Encoder:
    """The same backbone read by mean pooling alone: the lowest floor."""
    return Encoder(encoder.backbone, MeanPooling())


def best_pooling(backbone: Backbone) -> Pooling:
    """What reads a backbone's last map best where nothing is trained.

    A transformer's class token; of a convolutional network GeM, or the mean where its map is
    signed, for GeM takes what is below zero as zero.
    """
    if backbone.has_tokens:
        return ClassTokenPooling()
    return MeanPooling() if backbone.signed else GeMPooling()
