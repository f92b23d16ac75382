"""The encoder, which a run trains and a bundle exports."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.backbones import Backbone
from fgembed.backbones.levels import BackboneOutput
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.pooling import ClassTokenPooling, GeMPooling, MeanPooling, Pooling
from fgembed.model.reading.multi_level import PLAIN, MultiLevelPooling, Reading
from fgembed.model.reading.whitening import Whitening


class Encoder(nn.Module):
    """Backbone, pooling and optional whitening: images in, unit vectors and rationales out.

    Example:
        >>> from fgembed.backbones import make_backbone
        >>> encoder = Encoder(make_backbone("torchvision/resnet18:layer1", size=64), MeanPooling())
        >>> encoder(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 64])

    Attributes:
        backbone: gives the maps.
        pooling: of the last map; it also gives the rationale.
        reading: what is read beside the last map.
        levels: joins inner levels and the mean with the last map's vector; None if there are none.
        whitening: the last layer, once it is fitted.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: Pooling,
        whitening: Whitening | None = None,
        reading: Reading = PLAIN,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.reading = reading
        inner = backbone.inner_channels(reading.depths)
        several = bool(inner) or reading.mean_beside
        self.levels = MultiLevelPooling(inner, backbone.channels, reading) if several else None
        self.whitening = whitening

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, C, h, w)."""
        features: Tensor = self.backbone(images)
        return features

    def pooled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised -> (B, P), and the last map (B, C, h, w) of the images."""
        if not self.reading.mirror:
            output = self.backbone.read_levels(images, self.reading.depths)
            return self.pool(output), output.features
        output = self.backbone.read_levels(with_mirrored(images), self.reading.depths)
        return self.pool_mirrored(output), output.features[: images.shape[0]]

    def pool(self, output: BackboneOutput) -> Tensor:
        """The backbone's output, with the inner maps of `depths` -> (B, P)."""
        vectors: Tensor = self.pooling(output.features, output.summary)
        if self.levels is None:
            return vectors
        return self.levels.pool(output.inner, vectors, output.features)

    def pool_mirrored(self, output: BackboneOutput) -> Tensor:
        """The output for images `with_mirrored` -> (B, P), averaged over both."""
        return torch.unflatten(self.pool(output), 0, (2, -1)).mean(dim=0)

    def finish(self, pooled: Tensor) -> Tensor:
        """(B, P) pooled -> (B, D), unit length: levels joined, then whitened."""
        vectors = F.normalize(pooled, dim=1) if self.levels is None else self.levels(pooled)
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
        """(B, 3, H, W) normalised -> (B, h, w) in [0, 1], the weight of each position."""
        return self.pooling.rationale(self.features(images))

    @property
    def dimensions(self) -> int:
        """D, the length of an embedding."""
        if self.whitening is not None:
            return self.whitening.projection.shape[1]
        return self.backbone.channels if self.levels is None else sum(self.levels.sizes)


class PixelEncoder(nn.Module):
    """An encoder that takes uint8 pixels: the graph that is exported and evaluated.

    Example:
        >>> from fgembed.backbones import make_backbone
        >>> from fgembed.model.pooling import MeanPooling
        >>> backbone = make_backbone("torchvision/resnet18:layer1", size=32)
        >>> model = PixelEncoder(Encoder(backbone, MeanPooling()), Preprocessing(size=32)).eval()
        >>> embedding, rationale = model(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))
        >>> embedding.shape, rationale.shape
        (torch.Size([2, 64]), torch.Size([2, 8, 8]))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, spec: Preprocessing, dynamic_size: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        # Repeated along a row of pixels: broadcasting three values is slow in ONNX Runtime.
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
    """(B, 3, H, W) -> (2 B, 3, H, W): all images, then all mirror images."""
    return torch.cat([images, images.flip(3)])


def mean_pooled(encoder: Encoder, reading: Reading = PLAIN) -> Encoder:
    """The same backbone with mean pooling and no whitening: the lowest floor."""
    return Encoder(encoder.backbone, MeanPooling(), reading=reading)


def best_pooling(backbone: Backbone) -> Pooling:
    """The best pooling of an untrained backbone's last map.

    The class token of a transformer. In a convolutional network GeM, or the mean if the map is
    signed, because GeM clamps negative values to zero.
    """
    if backbone.has_tokens:
        return ClassTokenPooling()
    return MeanPooling() if backbone.signed else GeMPooling()
