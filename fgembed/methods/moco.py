"""MoCo v2 (arXiv:2003.04297) as the fine-grained papers use it: the base of most methods here.

    q = norm(g(mean(F(x_1)))),  k = norm(g_k(mean(F_k(x_2))))     F backbone, g projector
    L = -mean_b log( e^(q_b.k_b/t) / (e^(q_b.k_b/t) + sum_j e^(q_b.Q_j/t)) )
    Q <- k                                  first in, first out, after the loss
    theta_k <- m theta_k + (1 - m) theta    before each step, for F_k and g_k

Shapes: x (B, 3, H, W), F(x) (B, C, h, w), q and k (B, D), the queue Q (K, D). Loss and update
are eq. 1 and 2 of MoCo (arXiv:1911.05722); the two-layer projector and t = 0.2 are MoCo v2's.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fgembed.config import Settings
from fgembed.errors import ConfigError
from fgembed.methods.base import Method
from fgembed.methods.components.losses import info_nce
from fgembed.methods.components.memory_bank import MemoryBank
from fgembed.methods.components.momentum import key_copy
from fgembed.model.encoder import Encoder


class MoCo(Method):
    """InfoNCE of one view's query with the other view's key, against a queue of earlier keys.

    Example:
        >>> from fgembed.backbones import make_backbone
        >>> from fgembed.model.pooling import MeanPooling
        >>> backbone = make_backbone("torchvision/resnet18:layer1", size=32)
        >>> method = MoCo(Encoder(backbone, MeanPooling()), MoCo.Config(queue_size=8))
        >>> views = [torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)]
        >>> [(name, term.shape) for name, term in method(views).items()]
        [('contrast', torch.Size([]))]
    """

    class Config(Settings):
        """The published values of the fine-grained setting, except for the queue's size."""

        dimensions: int = Field(256, ge=2, description="length of queries and keys")
        queue_size: int = Field(
            4096, ge=2, description="K [published: 65536, eleven epochs of a set like CUB]"
        )
        momentum: float = Field(0.999, ge=0, le=1, description="m")
        temperature: float = Field(0.2, gt=0, description="t")
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
        self.queue = MemoryBank(config.queue_size, config.dimensions, random_start=True)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The contrastive term of two views."""
        contrast, _ = self.contrast(views)
        return {"contrast": contrast}

    def contrast(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The InfoNCE loss and the query's feature map (B, C, h, w); enqueues the keys.

        Everything behind the map is float32, even under mixed precision: LCR differentiates
        the loss with respect to the map.
        """
        features = self.encoder.features(views[0]).float()
        key = self.keys(views[1])
        # A copy, because enqueueing changes what the backward pass still needs.
        loss = self.loss(self.query(features), key, self.queue.rows().clone())
        self.queue.enqueue(key)
        return loss, features

    def query(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, D) unit queries, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            return F.normalize(self.projector(features.float().mean(dim=(2, 3))), dim=1)

    def loss(self, query: Tensor, key: Tensor, negatives: Tensor) -> Tensor:
        """InfoNCE of (B, D) queries and keys against (K, D) negatives, the logits in float32."""
        with torch.autocast(query.device.type, enabled=False):
            return info_nce(query, key, negatives, self.config.temperature)

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D) unit keys.

        ShuffleBN (arXiv:1911.05722, section 3.3) needs several processes. In one, batch
        statistics let a query recognise its key. `key_groups` emulates it: the keys are
        normalised in shuffled groups.
        """
        if self.config.key_groups == 1 or not self.training:
            return self._project_keys(images)
        order = torch.randperm(len(images), device=images.device)
        groups = images[order].tensor_split(self.config.key_groups)
        keys = torch.cat([self._project_keys(group) for group in groups])
        return keys[order.argsort()]

    def check_batch(self, batch_size: int) -> None:
        """The batch fits the queue, and batch norm sees at least two keys in each group.

        Raises:
            ConfigError: one of the two does not hold.
        """
        if batch_size > self.config.queue_size:
            raise ConfigError(
                f"a batch of {batch_size} keys does not fit a queue of {self.config.queue_size}",
                "raise method.queue_size or lower optimiser.batch_size",
            )
        if batch_size < 2 * self.config.key_groups:
            raise ConfigError(
                f"a batch of {batch_size} in {self.config.key_groups} groups leaves groups of "
                "one key",
                "lower method.key_groups or raise optimiser.batch_size",
            )

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Backbone and projector; the pooling has no part in the loss."""
        return [
            (self.encoder.backbone, self.key_backbone),
            (self.projector, self.key_projector),
        ]

    def momentum(self) -> float:
        """m, the same at every step."""
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
