"""What the tests of SynPair share: a small method and its views."""

import torch

from fgembed.backbones import make_backbone
from fgembed.methods.synpair import SynPair
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import GeMPooling
from tests.conftest import TINY


def synpair(seed: int = 0, progress: float = 1.0, **settings: object) -> SynPair:
    """Past its warm-up, without the light views unless requested."""
    torch.manual_seed(seed)
    small = {"queue_size": 8, "dimensions": 16, "bank_size": 32, "augment": False}
    config = SynPair.Config.model_validate(small | settings)
    method = SynPair(Encoder(make_backbone(TINY), GeMPooling()), config)
    method.bank.enqueue(torch.rand(20, 64))
    method.progress = progress
    return method


def views(batch: int = 4, seed: int = 0, side: int = 32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 3, side, side, generator=generator) for _ in range(2)]
