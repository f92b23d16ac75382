"""What SynPair shows and measures of its decoded images; neither changes any state."""

import copy

import pytest
import torch

from fgembed.methods.synpair import SynPair, code_of
from tests.methods.synpair_parts import synpair, views


def test_an_illustration_shows_three_images_and_leaves_no_trace():
    method, images = synpair(projector_norm=True).train(), views()
    method.encoder.backbone.freeze_statistics = True
    method.train()
    state = copy.deepcopy(method.state_dict())
    modes, random = [part.training for part in method.modules()], torch.get_rng_state()
    with torch.no_grad():
        shown = method.illustrate(images)
    assert list(shown) == ["original", "decoded", "perturbed"]
    assert all(x.shape == (4, 3, 32, 32) and not x.requires_grad for x in shown.values())
    torch.testing.assert_close(shown["original"], images[0])
    assert not torch.allclose(shown["decoded"], shown["perturbed"])
    for name, value in method.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert [part.training for part in method.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in method.parameters())


def test_an_untrained_method_can_be_illustrated():
    method = SynPair(synpair().encoder, SynPair.Config(queue_size=8))
    assert torch.isfinite(method.illustrate(views(1))["perturbed"]).all()


def test_the_diagnosis_equals_the_formulas_written_out():
    method, images = synpair(noise_scale=3.0).train(), views()
    shown, figures = method.illustrate(images), method.diagnose(images)
    pixels, features = 0.0, 0.0
    method.eval()
    for b in range(4):
        first, second = shown["decoded"][b : b + 1], shown["perturbed"][b : b + 1]
        pixels += float((first - second).norm() / first.norm())
        with torch.no_grad():
            codes = [code_of(method.encoder.features(x))[0] for x in (first, second)]
        features += 1 - float(codes[0] @ codes[1] / codes[0].norm() / codes[1].norm())
    assert figures["pixel_change"] == pytest.approx(pixels / 4, rel=1e-3)
    assert figures["feature_change"] == pytest.approx(features / 4, rel=1e-2, abs=1e-6)
    assert figures["pixel_change"] > synpair(noise_scale=0.01).diagnose(images)["pixel_change"]
