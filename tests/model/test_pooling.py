"""Poolings by value."""

import pytest
import torch

from fgembed.model.pooling import (
    FloorRationaleGeMPooling,
    FloorRationalePooling,
    GeMPooling,
    ImageRationaleGeMPooling,
    ImageRationalePooling,
    MeanPooling,
    Pooling,
    RationaleGeMPooling,
    RationalePooling,
    make_pooling,
)

FEATURES = torch.rand(4, 6, 3, 5, generator=torch.Generator().manual_seed(0))


READINGS = (RationalePooling, FloorRationalePooling, ImageRationalePooling)
IN_GEM = (RationaleGeMPooling, FloorRationaleGeMPooling, ImageRationaleGeMPooling)
FLOOR = 0.3


def rationale_pooling(
    kind: type[RationalePooling] = RationalePooling, seed: int = 0
) -> RationalePooling:
    torch.manual_seed(seed)
    pooling = kind(6, detectors=4).eval()
    if isinstance(pooling, FloorRationalePooling):
        pooling.floor.fill_(FLOOR)
    return pooling


def test_gem_equals_the_formula_in_loops():
    pooled = GeMPooling()(FEATURES)
    for b in range(4):
        for c in range(6):
            values = [float(v) ** 3 for v in FEATURES[b, c].flatten()]
            assert float(pooled[b, c]) == pytest.approx((sum(values) / 15) ** (1 / 3), rel=1e-5)


def test_gem_of_a_constant_map_is_the_constant_and_below_zero_counts_as_zero():
    maps = torch.full((1, 2, 3, 3), 0.7)
    maps[0, 1] = -5
    torch.testing.assert_close(GeMPooling()(maps), torch.tensor([[0.7, 0.0]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", READINGS)
def test_rationale_pooling_equals_the_formula_in_loops(kind: type[RationalePooling]):
    pooling = rationale_pooling(kind)
    norm = pooling.norm
    norm.running_mean = torch.tensor([0.1, -0.2, 0.3, 0.0])
    norm.running_var = torch.tensor([0.5, 1.0, 2.0, 0.25])
    weight = pooling.detectors.weight[:, :, 0, 0].detach()
    pooled = pooling(FEATURES)
    for b in range(4):
        response = torch.zeros(3, 5)
        for i in range(3):
            for j in range(5):
                column = FEATURES[b, :, i, j]
                raw = (weight @ column - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
                response[i, j] = max(0.0, float(raw.max()))
        if kind is ImageRationalePooling:
            response = (response - response.min()) / (response.max() - response.min())
        elif kind is FloorRationalePooling:
            response = (response - FLOOR).clamp(min=0)
        expected = (FEATURES[b] * response).sum(dim=(1, 2)) / response.sum()
        torch.testing.assert_close(pooled[b].detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", IN_GEM)
def test_rationale_gem_equals_the_formula_in_loops(kind: type[RationalePooling]):
    pooling = rationale_pooling(kind)
    response = pooling.rationale(FEATURES).detach()
    pooled = pooling(FEATURES).detach()
    for b in range(4):
        for c in range(6):
            total = sum(
                float(response[b, i, j]) * float(FEATURES[b, c, i, j]) ** 3
                for i in range(3)
                for j in range(5)
            )
            expected = (total / float(response[b].sum())) ** (1 / 3)
            assert float(pooled[b, c]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", [*READINGS, *IN_GEM])
def test_an_embedding_ignores_the_rest_of_its_batch(kind: type[RationalePooling]):
    pooling = rationale_pooling(kind)
    together = pooling(torch.cat([FEATURES, 1000 * FEATURES]))
    for b in range(4):
        torch.testing.assert_close(pooling(FEATURES[b : b + 1])[0], together[b])
        alone = pooling.rationale(FEATURES[b : b + 1])[0]
        torch.testing.assert_close(pooling.rationale(FEATURES)[b], alone)


@pytest.mark.parametrize("kind", READINGS)
def test_without_a_detector_s_response_the_mean_is_taken(kind: type[RationalePooling]):
    pooling = rationale_pooling(kind)
    torch.nn.init.constant_(pooling.detectors.weight, -1.0)
    torch.testing.assert_close(pooling(FEATURES), MeanPooling()(FEATURES))


@pytest.mark.parametrize("kind", READINGS)
def test_uniform_response_gives_the_mean(kind: type[RationalePooling]):
    pooling = rationale_pooling(kind)
    torch.nn.init.zeros_(pooling.detectors.weight)
    torch.nn.init.ones_(pooling.norm.bias)
    torch.testing.assert_close(pooling(FEATURES), MeanPooling()(FEATURES))


@pytest.mark.parametrize(
    "pooling", [MeanPooling(), GeMPooling(), *(rationale_pooling(kind) for kind in READINGS)]
)
def test_rationales_lie_in_zero_to_one_and_reach_one(pooling: Pooling):
    maps = pooling.rationale(FEATURES).detach()
    assert maps.shape == (4, 3, 5)
    assert float(maps.min()) >= 0
    torch.testing.assert_close(maps.amax(dim=(1, 2)), torch.ones(4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", READINGS)
def test_the_pooling_is_weighted_by_the_map_that_is_shown(kind: type[RationalePooling]):
    pooling = rationale_pooling(kind)
    shown = pooling.rationale(FEATURES).unsqueeze(1)
    weighted = (FEATURES * shown).sum(dim=(2, 3)) / shown.sum(dim=(2, 3))
    torch.testing.assert_close(pooling(FEATURES), weighted)


def test_a_scale_of_the_detectors_changes_no_embedding():
    """So A' needs none: batch norm's weights are free to grow in training."""
    pooling = rationale_pooling()
    before = pooling(FEATURES)
    with torch.no_grad():
        pooling.norm.weight.mul_(7)
    torch.testing.assert_close(pooling(FEATURES), before)


def test_a_name_means_one_reading():
    kinds = {kind.kind: kind for kind in (*READINGS, *IN_GEM)}
    assert {name: type(make_pooling(name, 6)) for name in kinds} == kinds
    assert type(make_pooling("rationale", 6)) is ImageRationalePooling  # of earlier encoders
