"""MoCo v3 (arXiv:2104.02057, algorithm 1) in loops, and its momentum schedule."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fgembed.backbones import make_backbone
from fgembed.methods.components.losses import in_batch_nce
from fgembed.methods.components.momentum import update_keys
from fgembed.methods.mocov3 import MoCoV3
from fgembed.model.encoder import Encoder
from fgembed.model.heads import mlp_head
from fgembed.model.pooling import GeMPooling
from tests.conftest import TINY, TINY_VIT


def mocov3(backbone: str = TINY, **settings: Any) -> MoCoV3:
    torch.manual_seed(0)
    config = MoCoV3.Config.model_validate({"dimensions": 16, "hidden": 32} | settings)
    return MoCoV3(Encoder(make_backbone(backbone, size=32), GeMPooling()), config)


def views() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, 32, 32, generator=generator) for _ in range(2)]


def ctr_in_loops(query: torch.Tensor, key: torch.Tensor, t: float) -> float:
    total = 0.0
    for b in range(len(query)):
        scores = []
        for j in range(len(key)):
            dot = sum(float(x) * float(y) for x, y in zip(query[b], key[j], strict=True))
            scores.append(dot / float(query[b].norm()) / float(key[j].norm()) / t)
        total += math.log(sum(math.exp(score) for score in scores)) - scores[b]
    return 2 * t * total / len(query)


def test_ctr_equals_the_formula_in_loops():
    query, key = torch.randn(5, 7), 3 * torch.randn(5, 7)
    assert float(in_batch_nce(query, key, 0.3)) == pytest.approx(
        ctr_in_loops(query, key, 0.3), rel=1e-4
    )


def test_the_loss_equals_the_algorithm_after_the_keys_have_moved():
    """Both views query both keys; the predictor is on the query's side alone."""
    method = mocov3().train()  # in evaluation mode random weights see all images as one
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(0.01)
    update_keys(method.momentum_pairs(), 0.5)
    images = views()
    loss = method(images)["contrast"]
    with torch.no_grad():
        queries, keys = [], []
        for view in images:
            pooled = method.encoder.backbone(view).mean(dim=(2, 3))
            queries.append(method.predictor(method.projector(pooled)))
            keys.append(method.key_projector(method.key_backbone(view).mean(dim=(2, 3))))
    expected = ctr_in_loops(queries[0], keys[1], 0.2) + ctr_in_loops(queries[1], keys[0], 0.2)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    crossed = ctr_in_loops(queries[0], keys[0], 0.2) + ctr_in_loops(queries[1], keys[1], 0.2)
    assert expected != pytest.approx(crossed, rel=1e-3)


def test_momentum_rises_from_m0_to_1_along_half_a_cosine():
    method = mocov3()
    values = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        method.progress = progress
        values.append(method.momentum())
    quarter = 1 - 0.5 * (1 + math.cos(math.pi / 4)) * 0.01
    assert values == pytest.approx([0.99, quarter, 0.995, 1.0])


def test_a_transformer_s_patch_projection_stays_unless_requested():
    for freeze in (True, False):
        method = mocov3(TINY_VIT, freeze_patches=freeze).train()
        patches = method.encoder.backbone.patch_projection()
        assert patches is not None
        torch.stack(list(method(views()).values())).sum().backward()
        weight = next(patches.parameters())
        assert (weight.grad is None) is freeze
        trained = [p for group in method.parameter_groups() for p in group["params"]]
        assert any(p is weight for p in trained) is not freeze


def test_a_transformer_is_contrasted_by_its_class_token():
    method = mocov3(TINY_VIT).eval()
    image = views()[0]
    token = method.encoder.backbone.read(image)[1]
    assert MoCoV3.pooling_for(method.encoder.backbone) == "class-token"
    torch.testing.assert_close(method.query(image), method.predictor(method.projector(token)))


def test_a_head_is_linear_norm_relu_and_ends_in_a_norm_without_weights():
    torch.manual_seed(0)
    head = mlp_head([6, 5, 4])
    vectors = torch.randn(8, 6)
    first, last = (m.weight for m in head if isinstance(m, torch.nn.Linear))
    hidden = vectors @ first.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    output = F.relu(hidden) @ last.T
    output = (output - output.mean(0)) / (output.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(head(vectors), output, rtol=1e-4, atol=1e-5)
    assert [m.affine for m in head if isinstance(m, torch.nn.BatchNorm1d)] == [True, False]
