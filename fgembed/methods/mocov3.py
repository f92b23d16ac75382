"""MoCo v3 (arXiv:2104.02057): each view queries the other's key; no queue.

    q_v = predictor(projector(s(x_v))),  k_v = projector_k(s_k(x_v)),  s the backbone's summary
    L = ctr(q_1, k_2) + ctr(q_2, k_1)
    ctr(q, k) = 2t x mean_b -log( e^(q_b.k_b/t) / sum_j e^(q_b.k_j/t) )     q, k normalised
    m(progress) = 1 - (1 - m0) (1 + cos(pi x progress)) / 2                the keys' momentum

Shapes: x (B, 3, H, W), s(x) (B, C), q and k (B, D). The negatives are the batch's other keys. The
summary is the class token of a vision transformer, or the mean of a feature map. The loss is
algorithm 1 of the paper; the heads, m and its schedule are those of its code.
"""

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from fgembed.backbones import Backbone
from fgembed.config import Settings
from fgembed.methods.base import Method
from fgembed.methods.components.losses import in_batch_nce
from fgembed.methods.components.momentum import key_copy
from fgembed.model.encoder import Encoder
from fgembed.model.heads import mlp_head
from fgembed.model.pooling import ClassTokenPooling


class MoCoV3(Method):
    """Symmetric contrast of predictions with momentum keys; for ViT and ResNet alike.

    Example:
        >>> from fgembed.backbones import make_backbone
        >>> from fgembed.model.pooling import MeanPooling
        >>> backbone = make_backbone("torchvision/resnet18:layer1", size=32)
        >>> method = MoCoV3(Encoder(backbone, MeanPooling()), MoCoV3.Config())
        >>> views = [torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)]
        >>> [(name, term.shape) for name, term in method(views).items()]
        [('contrast', torch.Size([]))]
    """

    class Config(Settings):
        """Published values for a ViT; for a ResNet two projector layers, no predictor norm."""

        dimensions: int = Field(256, ge=2, description="length of queries and keys")
        hidden: int = Field(4096, ge=2, description="width of projector and predictor")
        projector_layers: int = Field(3, ge=1, description="[ResNet: 2]")
        predictor_norm: bool = Field(True, description="batch norm after the predictor")
        dropout: float = Field(0.0, ge=0, lt=1, description="in both heads")
        momentum: float = Field(0.99, ge=0, le=1, description="m0; rises to 1")
        temperature: float = Field(0.2, gt=0)
        freeze_patches: bool = Field(True, description="do not train a ViT's patch projection")

    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, config)
        self.projector = self.make_projector(encoder.backbone.channels)
        self.predictor = self.make_predictor(encoder.backbone.channels)
        patches = encoder.backbone.patch_projection()
        if patches is not None and config.freeze_patches:
            patches.requires_grad_(False)
        self.key_backbone = key_copy(encoder.backbone)
        self.key_projector = key_copy(self.projector)

    @classmethod
    def pooling_for(cls, backbone: Backbone) -> str:
        """The class token that it trains; for a convolutional network as in other methods."""
        return ClassTokenPooling.kind if backbone.has_tokens else super().pooling_for(backbone)

    def make_projector(self, channels: int) -> nn.Module:
        """(B, C) -> (B, D)."""
        hidden = [self.config.hidden] * (self.config.projector_layers - 1)
        sizes = [channels, *hidden, self.config.dimensions]
        return mlp_head(sizes, dropout=self.config.dropout)

    def make_predictor(self, channels: int) -> nn.Module:
        """(B, D) -> (B, D)."""
        sizes = [self.config.dimensions, self.config.hidden, self.config.dimensions]
        return mlp_head(sizes, dropout=self.config.dropout, last_norm=self.config.predictor_norm)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The symmetric contrastive term of two views."""
        first, second = self.query(views[0]), self.query(views[1])
        with torch.no_grad():
            keys = self.key(views[0]), self.key(views[1])
        return {"contrast": self.contrast(first, keys[1]) + self.contrast(second, keys[0])}

    def contrast(self, query: Tensor, key: Tensor) -> Tensor:
        """ctr(q, k) of (B, D) and (B, D), in float32."""
        with torch.autocast(query.device.type, enabled=False):
            return in_batch_nce(query.float(), key.float(), self.config.temperature)

    def query(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), the prediction of the other view's key."""
        return self.predict(self.projector(self.encoder.backbone.read(images)[1]))

    def predict(self, projected: Tensor) -> Tensor:
        """(B, D) -> (B, D)."""
        predicted: Tensor = self.predictor(projected)
        return predicted

    def key(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D)."""
        key: Tensor = self.key_projector(self.key_backbone.read(images)[1])
        return key

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Backbone and projector; the predictor has no key."""
        return [
            (self.encoder.backbone, self.key_backbone),
            (self.projector, self.key_projector),
        ]

    def momentum(self) -> float:
        """Rises from m0 to 1 along half a cosine."""
        remaining = 0.5 * (1 + math.cos(math.pi * self.progress))
        return 1 - remaining * (1 - self.config.momentum)
