"""Neighbours as positives: look-alikes of one class are no negatives of each other.

Instance discrimination (MoCo v2) pushes all pictures apart, also those of one class, which are
what a search is to find. Here a query is pulled to its key and to the keys of the pictures that
look most like it, each with the same weight:

    P(b) = {k_b} and the n keys of the queue whose pictures look most like that of k_b
    L = -mean_b 1/|P(b)| sum_{p in P(b)} log( e^(q_b.p/t) / sum_{a in {k_b} and queue} e^(q_b.a/t) )

Neighbours of a target in a memory bank are those of MeanShift (arXiv:2105.07269) and NNCLR
(arXiv:2104.14548), the loss is the supervised contrastive one (arXiv:2004.11362, eq. 2). What
differs: similarity is that of the key backbone's pooled features, centred by the queue's mean, and
not of the projector's output, which starts at random and says nothing for hundreds of steps.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fgembed.errors import ConfigError
from fgembed.methods.components.losses import multi_positive_nce
from fgembed.methods.components.memory_bank import KeyQueue
from fgembed.methods.moco import MoCo
from fgembed.model.encoder import Encoder


class Neighbours(MoCo):
    """MoCo v2 whose queries are also pulled to the nearest keys of the queue."""

    class Config(MoCo.Config):
        """MoCo's settings and how many neighbours count."""

        neighbours: int = Field(
            5, ge=0, description="n, once the queue is full of real keys; until then none"
        )

    config: Config
    seen: Tensor

    def __init__(self, encoder: Encoder, config: Config) -> None:
        if config.key_groups > 1:
            raise ConfigError("neighbours does not shuffle keys", "set method.key_groups to 1")
        super().__init__(encoder, config)
        self.looks = KeyQueue(config.queue_size, encoder.backbone.channels)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The contrastive term of two views, with neighbours among the positives."""
        query = self.query(self.encoder.features(views[0]))
        looks, key = self.keys_and_looks(views[1])
        positives = self.neighbours(looks)
        keys = self.queue.keys.clone()
        with torch.autocast(query.device.type, enabled=False):
            loss = multi_positive_nce(query, key, keys, positives, self.config.temperature)
        self.queue.enqueue(key)
        self.looks.enqueue(looks)
        self.seen += len(key)
        return {"contrast": loss}

    @torch.no_grad()
    def keys_and_looks(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> what the pictures look like (B, C), pooled, and their keys (B, D)."""
        pooled = self.key_backbone(images).mean(dim=(2, 3)).float()
        with torch.autocast(pooled.device.type, enabled=False):
            return pooled, F.normalize(self.key_projector(pooled), dim=1)

    @torch.no_grad()
    def neighbours(self, looks: Tensor) -> Tensor:
        """Which of the queue's keys are positives of pictures that look like (B, C): (B, K)."""
        stored = self.looks.keys
        chosen = torch.zeros(len(looks), len(stored), dtype=torch.bool, device=looks.device)
        count = min(self.config.neighbours, len(stored))
        if int(self.seen) < len(stored) or count == 0:
            return chosen
        centre = stored.mean(dim=0)
        similarity = F.normalize(looks - centre, dim=1) @ F.normalize(stored - centre, dim=1).T
        return chosen.scatter_(1, similarity.topk(count, dim=1).indices, True)
