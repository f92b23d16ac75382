"""Grad-CAM against its formula in loops, and the scalings of maps by value."""

import pytest
import torch
import torch.nn.functional as F

from fgembed.model.maps import grad_cam, min_max, peak_normalised


def cam_case() -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(4))
    gradient = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(5))
    return features, gradient


@pytest.mark.parametrize("sign", [1, -1])
def test_grad_cam_equals_the_formula_in_loops(sign: int):
    features, gradient = cam_case()
    cam = grad_cam(features, gradient, sign)
    for b in range(2):
        for i in range(4):
            for j in range(5):
                total = sum(float(features[b, c, i, j] * gradient[b, c, i, j]) for c in range(3))
                assert float(cam[b, i, j]) == pytest.approx(max(0.0, sign * total), abs=1e-6)


def test_element_wise_cam_equals_channel_weighted_cam_under_average_pooling():
    features = torch.rand(3, 6, 4, 4, generator=torch.Generator().manual_seed(6)).requires_grad_()
    weight = torch.randn(6, generator=torch.Generator().manual_seed(7))
    (features.mean(dim=(2, 3)) @ weight).sin().sum().backward()
    assert features.grad is not None
    channel_weights = features.grad.mean(dim=(2, 3), keepdim=True)
    classical = F.relu((channel_weights * features).sum(dim=1))
    torch.testing.assert_close(grad_cam(features, features.grad), classical)


def test_min_max_per_image_ignores_the_batch_and_over_the_batch_does_not():
    small, large = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]]), torch.tensor([[[0.0, 8.0]] * 2])
    alone = min_max(small)
    torch.testing.assert_close(alone, small / 4)
    torch.testing.assert_close(min_max(torch.cat([small, large]))[:1], alone)
    torch.testing.assert_close(min_max(torch.cat([small, large]), over="batch")[:1], small / 8)


def test_peak_normalised_puts_every_peak_at_one_and_leaves_an_empty_map_empty():
    maps = torch.stack([torch.tensor([[3e-4, 1e-4]]), torch.zeros(1, 2)])
    normalised = peak_normalised(maps)
    torch.testing.assert_close(normalised[0], torch.tensor([[1.0, 1 / 3]]))
    assert normalised[1].eq(0).all()
