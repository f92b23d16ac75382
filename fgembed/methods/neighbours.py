"""Neighbours as positives: images that look alike are no negatives of each other.

Instance discrimination (MoCo v2) pushes all images apart, also those of one class, which a search
should find. Here a query is pulled to its own key and to the keys of the n nearest images in the
queue, each with the same weight:

    P(b) = {k_b} and the keys of the n images in the queue whose features are nearest to b's
    L = -mean_b 1/|P(b)| sum_{p in P(b)} log( e^(q_b.p/t) / sum_{a in {k_b} and Q} e^(q_b.a/t) )

q, k and the queue Q are MoCo's. The loss is the supervised contrastive one (arXiv:2004.11362,
eq. 2). Neighbours from a memory bank are the idea of MeanShift (arXiv:2105.07269) and NNCLR
(arXiv:2104.14548). What differs: nearest means by cosine of the key backbone's pooled features,
centred by the bank's mean, and not of the projector's output, which starts at random and carries
no information for hundreds of steps.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fgembed.errors import ConfigError
from fgembed.methods.components.losses import multi_positive_nce
from fgembed.methods.components.memory_bank import MemoryBank
from fgembed.methods.moco import MoCo
from fgembed.model.encoder import Encoder


class Neighbours(MoCo):
    """MoCo v2 whose queries are also pulled to the nearest images' keys in the queue.

    Example:
        >>> from fgembed.backbones import make_backbone
        >>> from fgembed.model.pooling import MeanPooling
        >>> backbone = make_backbone("torchvision/resnet18:layer1", size=32)
        >>> method = Neighbours(Encoder(backbone, MeanPooling()), Neighbours.Config(queue_size=8))
        >>> views = [torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)]
        >>> [(name, term.shape) for name, term in method(views).items()]
        [('contrast', torch.Size([]))]
    """

    class Config(MoCo.Config):
        """MoCo's settings and the number of neighbours."""

        neighbours: int = Field(
            5, ge=0, description="n, once the queue is full of real keys; until then none"
        )

    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        if config.key_groups > 1:
            raise ConfigError(
                f"neighbours does not shuffle keys, got method.key_groups = {config.key_groups}",
                "set it to 1",
            )
        super().__init__(encoder, config)
        # Filled in step with the queue: slot j holds the features of the image of key j.
        self.feature_bank = MemoryBank(config.queue_size, encoder.backbone.channels)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The contrastive term of two views, with neighbours among the positives."""
        query = self.query(self.encoder.features(views[0]))
        features, key = self.features_and_keys(views[1])
        positives = self.neighbours(features)
        # A copy, because enqueueing changes what the backward pass still needs.
        negatives = self.queue.rows().clone()
        with torch.autocast(query.device.type, enabled=False):
            loss = multi_positive_nce(query, key, negatives, positives, self.config.temperature)
        self.queue.enqueue(key)
        self.feature_bank.enqueue(features)
        return {"contrast": loss}

    @torch.no_grad()
    def features_and_keys(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> the key backbone's pooled features (B, C) and the unit keys (B, D)."""
        pooled = self.key_backbone(images).mean(dim=(2, 3)).float()
        with torch.autocast(pooled.device.type, enabled=False):
            return pooled, F.normalize(self.key_projector(pooled), dim=1)

    @torch.no_grad()
    def neighbours(self, features: Tensor) -> Tensor:
        """Which keys of the queue are positives of images with `features` (B, C): (B, K) bool."""
        stored = self.feature_bank.vectors
        positives = torch.zeros(
            len(features), len(stored), dtype=torch.bool, device=features.device
        )
        count = min(self.config.neighbours, len(stored))
        if not self.feature_bank.is_full or count == 0:
            return positives
        centre = stored.mean(dim=0)
        similarity = F.normalize(features - centre, dim=1) @ F.normalize(stored - centre, dim=1).T
        return positives.scatter_(1, similarity.topk(count, dim=1).indices, True)
