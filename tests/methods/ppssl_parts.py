"""What the tests of PP-SSL share: a small method, its views, and its maps in loops."""

from typing import Any

import torch

from fgembed.backbones import make_backbone
from fgembed.methods.ppssl import PPSSL
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import RationalePooling
from fgembed.resolve import read_recipe
from tests.conftest import TINY
from tests.teachers import tiny_teacher


def ppssl(**settings: Any) -> PPSSL:
    torch.manual_seed(0)
    backbone = make_backbone(TINY)
    values = {"queue_size": 8, "dimensions": 16} | tiny_teacher() | settings
    encoder = Encoder(backbone, RationalePooling(backbone.channels))
    return PPSSL(encoder, PPSSL.Config.model_validate(values)).eval()


def views(batch: int = 4, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(batch, 3, 32, 32, generator=generator) for _ in range(2))
    return [first, second, (0.2 * first + 0.5).clamp(0, 1)]


def released_settings() -> dict[str, Any]:
    """Those of the recipe, with a queue and a teacher of the tests' size."""
    recipe = {k: v for k, v in read_recipe("ppssl-paper")["method"].items() if k != "name"}
    return recipe | {"queue_size": 8} | tiny_teacher()


def rationale_by_image(method: PPSSL, features: torch.Tensor) -> torch.Tensor:
    """A, written out: each image between its own least and largest response."""
    response = method.rationale_pooling.response(features).detach()
    least = torch.stack([image.min() for image in response]).view(-1, 1, 1)
    most = torch.stack([image.max() for image in response]).view(-1, 1, 1)
    return (response - least) / (most - least + 1e-7)


def image_cam_in_loops(method: PPSSL, images: list[torch.Tensor]) -> torch.Tensor:
    """ReLU(sum_c x_c dL/dx_c), its maximum over 4 x 4 pixels a cell: (B, 8, 8)."""
    leaf = images[0].clone().requires_grad_()
    contrast, _ = method.contrast([leaf, images[1]])
    (gradient,) = torch.autograd.grad(contrast, leaf)
    product = leaf.detach() * gradient
    cells = torch.zeros(len(leaf), 8, 8)
    for b in range(len(leaf)):
        for i in range(8):
            for j in range(8):
                block = (b, slice(None), slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4))
                cells[b, i, j] = float(product[block].sum(dim=0).clamp(min=0).max())
    return cells


def kl(target: torch.Tensor, answer: torch.Tensor) -> float:
    return float((target * (target.log() - answer.log())).sum())


def encoder_gradients(method: PPSSL, term: str) -> list[float]:
    method(views())[term].backward()
    parameters = list(method.encoder.backbone.parameters())
    return [0.0 if p.grad is None else float(p.grad.abs().sum()) for p in parameters]
