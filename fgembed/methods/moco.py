"""MoCo v2 (arXiv:2003.04297) as the fine-grained papers use it: the base of LCR and PP-SSL."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fgembed.config import Settings
from fgembed.errors import ConfigError
from fgembed.methods.base import Method
from fgembed.methods.components.losses import info_nce
from fgembed.methods.components.memory_bank import KeyQueue
from fgembed.methods.components.momentum import key_copy
from fgembed.model.encoder import Encoder


class MoCo(Method):
    """q = norm(g(GAP(F(x1)))), k = norm(g_k(GAP(F_k(x2)))); InfoNCE against a queue of keys."""

    class Config(Settings):
        """Published values of the fine-grained setting, but for the queue."""

        dimensions: int = Field(256, ge=2, description="length of queries and keys")
        queue_size: int = Field(
            4096, ge=2, description="published: 65536, eleven epochs of a set like CUB"
        )
        momentum: float = Field(0.999, ge=0, le=1)
        temperature: float = Field(0.2, gt=0)
        projector_norm: bool = Field(
            False, description="batch norm in the projector, as in MoCo v3 [published: none]"
        )
        key_groups: int = Field(
            1, ge=1, description="batch-norm groups of shuffled keys: ShuffleBN on one device"
        )

    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, config)
        self.projector = _projector(
            encoder.backbone.channels, config.dimensions, config.projector_norm
        )
        self.key_backbone = key_copy(encoder.backbone)
        self.key_projector = key_copy(self.projector)
        self.queue = KeyQueue(config.queue_size, config.dimensions)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The contrastive term of two views."""
        contrast, _ = self.contrast(views)
        return {"contrast": contrast}

    def contrast(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The InfoNCE loss and the query's feature map (B, C, h, w); enqueues the keys.

        From the map on all is float32, mixed precision or not: LCR differentiates by it.
        """
        features = self.encoder.features(views[0]).float()
        key = self.keys(views[1])
        loss = self.loss(self.query(features), key, self.queue.keys.clone())
        self.queue.enqueue(key)
        return loss, features

    def query(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, D) unit queries, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            return F.normalize(self.projector(features.float().mean(dim=(2, 3))), dim=1)

    def loss(self, query: Tensor, key: Tensor, negatives: Tensor) -> Tensor:
        """InfoNCE against (K, D) negatives, its logits in float32."""
        with torch.autocast(query.device.type, enabled=False):
            return info_nce(query, key, negatives, self.config.temperature)

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D) unit keys.

        In one process ShuffleBN does nothing, and batch statistics let a query recognise its
        key; with `key_groups` the keys are normalised in shuffled groups instead.
        """
        if self.config.key_groups == 1 or not self.training:
            return self._project_keys(images)
        order = torch.randperm(len(images), device=images.device)
        groups = images[order].tensor_split(self.config.key_groups)
        keys = torch.cat([self._project_keys(group) for group in groups])
        return keys[order.argsort()]

    def check_batch(self, batch_size: int) -> None:
        """The queue is a multiple of the batch, and batch norm sees two keys at least.

        Raises:
            ConfigError: one of them does not hold.
        """
        self.queue.check_batch(batch_size)
        if batch_size < 2 * self.config.key_groups:
            raise ConfigError(
                f"a batch of {batch_size} in {self.config.key_groups} groups leaves groups of "
                "one key",
                "lower method.key_groups",
            )

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Backbone and projector follow; the pooling has no part in the contrast."""
        return [
            (self.encoder.backbone, self.key_backbone),
            (self.projector, self.key_projector),
        ]

    def momentum(self) -> float:
        """Constant."""
        return self.config.momentum

    def _project_keys(self, images: Tensor) -> Tensor:
        pooled = self.key_backbone(images).mean(dim=(2, 3))
        return F.normalize(self.key_projector(pooled).float(), dim=1)


def _projector(channels: int, dimensions: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, channels),
        nn.BatchNorm1d(channels) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Linear(channels, dimensions),
    )
