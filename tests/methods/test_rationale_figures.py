"""Figures of LCR's branch by value, and what they tell of a method in training."""

from typing import Any

import pytest
import torch

from fgembed.methods.components.rationale_figures import (
    common_share,
    correlation,
    explained,
    gradient_ratio,
)
from tests.methods.ppssl_parts import ppssl
from tests.methods.test_lcr import lcr, views

TARGET = torch.tensor([[[0.0, 0.2], [0.4, 1.0]], [[1.0, 0.0], [0.0, 0.0]]])


def test_the_explained_share_is_one_for_the_target_and_below_zero_for_its_opposite():
    assert explained(TARGET, TARGET + 3, 0.4) == pytest.approx(1)  # a softmax ignores a constant
    assert explained(TARGET, torch.full_like(TARGET, 0.7), 0.4) == pytest.approx(0)
    assert explained(TARGET, -TARGET, 0.4) < -1
    half = TARGET.clone()
    half[1] = 0.5  # only the first image is told
    target = (TARGET.flatten(1) / 0.4).softmax(dim=1)
    missed = [float((p * (p * 4).log()).sum()) for p in target]  # against 1/4 everywhere
    assert explained(TARGET, half, 0.4) == pytest.approx(1 - missed[1] / sum(missed), rel=1e-4)


def test_of_a_uniform_target_there_is_nothing_to_explain():
    assert explained(torch.ones(2, 3, 3), torch.rand(2, 3, 3), 0.4) == 0


def test_correlation_is_over_the_positions_of_each_image():
    assert correlation(TARGET, 2 * TARGET + 1) == pytest.approx(1)
    assert correlation(TARGET, -TARGET) == pytest.approx(-1)
    constant = TARGET.clone()
    constant[1] = 0.3
    assert correlation(TARGET, constant) == pytest.approx(0.5)


def test_the_common_share_tells_one_direction_from_opposite_ones():
    gradient = torch.zeros(2, 3, 2, 2)
    gradient[:, 0, 0, 1] = 2.0
    assert common_share(gradient) == pytest.approx(1)
    gradient[1] *= -1
    assert common_share(gradient) == 0
    gradient[1] = 0
    gradient[1, 1, 1, 1] = 2.0  # at a right angle
    assert common_share(gradient) == pytest.approx(2**0.5 / 2)
    assert common_share(torch.zeros(2, 3, 2, 2)) == 0


def test_the_gradient_ratio_is_of_norms():
    assert gradient_ratio(torch.full((4,), 3.0), torch.full((1,), 2.0)) == 3


def test_trap_8_behind_a_batch_norm_the_common_direction_is_gone():
    shares = [
        lcr(projector_norm=norm).train().diagnose(views(8))["common gradient"]
        for norm in (True, False)
    ]
    assert shares[0] < 1e-3 < 0.05 < shares[1]


def test_the_weight_scales_the_gradient_ratio_and_nothing_else():
    light, heavy = (lcr(weight=weight).train().diagnose(views(8)) for weight in (0.02, 1.28))
    assert heavy.pop("gradient ratio") == pytest.approx(64 * light.pop("gradient ratio"), rel=1e-3)
    assert heavy == pytest.approx(light)


def test_on_detached_features_the_term_trains_the_detectors_alone():
    method = lcr(detach_features=True).train()
    figures = method.diagnose(views(8))
    assert figures["gradient ratio"] == 0
    method(views(8))["rationale"].backward()
    assert method.rationale_pooling.detectors.weight.grad is not None
    assert all(p.grad is None for p in method.encoder.backbone.parameters())
    method.zero_grad()
    attached = lcr().train()
    attached(views(8))["rationale"].backward()
    assert any(p.grad is not None for p in attached.encoder.backbone.parameters())


def test_an_unscaled_rationale_is_the_detectors_response():
    method = lcr(scale_over="none")
    features = method.encoder.features(views()[0])
    response = method.rationale_pooling.response(features)
    assert torch.equal(method.rationale_map(features), response)


@pytest.mark.parametrize("make", [lcr, ppssl])
def test_diagnosing_changes_no_state(make: Any):
    method = make().train()
    images = views(6)
    if make is ppssl:
        images.append(images[0])
    state = {name: value.clone() for name, value in method.state_dict().items()}
    random = torch.get_rng_state()
    figures = method.diagnose(images)
    assert set(figures) == {
        "rationale explained", "rationale correlation", "common gradient", "gradient ratio",
    }  # fmt: skip
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())
    assert method.training
