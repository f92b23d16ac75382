"""Light views: on an image that holds its own coordinates the crop can be read off."""

import torch

from fgembed.methods.components.tensor_views import light_views

SIDE = 32


def coordinates(count: int) -> torch.Tensor:
    """(B, 3, SIDE, SIDE): x, y and 1, the pixels' centres on 0..1."""
    centres = (torch.arange(SIDE) + 0.5) / SIDE
    x, y = centres.expand(SIDE, SIDE), centres[:, None].expand(SIDE, SIDE)
    return torch.stack([x, y, torch.ones(SIDE, SIDE)]).expand(count, 3, SIDE, SIDE)


def test_views_are_crops_of_at_least_six_tenths_and_half_are_flipped():
    torch.manual_seed(0)
    views = light_views(coordinates(400))
    steps = (views[:, 0, :, 20] - views[:, 0, :, 10]).mean(dim=1) * SIDE / 10  # share, signed
    across, down = steps.abs(), (views[:, 1, 20] - views[:, 1, 10]).mean(dim=1) * SIDE / 10
    area = across * down
    assert float(area.min()) > 0.6 - 1e-3
    assert float(area.max()) < 1 + 1e-3
    assert float(area.std()) > 0.05
    ratio = across / down
    assert 0.74 < float(ratio.min()) < 0.85
    assert 1.18 < float(ratio.max()) < 1.35
    assert 0.4 < float((steps < 0).float().mean()) < 0.6
    assert 0 <= float(views.min())
    assert float(views.max()) <= 1
    torch.testing.assert_close(views[:, 2], torch.ones(400, SIDE, SIDE))


def test_the_smallest_crop_and_the_share_of_flips_can_be_set():
    torch.manual_seed(0)
    for probability in (0.0, 1.0):
        views = light_views(coordinates(200), smallest_crop=0.9, flip_probability=probability)
        steps = (views[:, 0, :, 20] - views[:, 0, :, 10]).mean(dim=1) * SIDE / 10
        assert set((steps < 0).tolist()) == {probability == 1}
        down = (views[:, 1, 20] - views[:, 1, 10]).mean(dim=1) * SIDE / 10
        assert float((steps.abs() * down).min()) > 0.8  # a side that would exceed is cut


def test_crops_lie_anywhere_in_the_image():
    torch.manual_seed(0)
    views = light_views(coordinates(400))
    for axis in (0, 1):
        middle = views[:, axis].mean(dim=(1, 2))
        assert abs(float(middle.mean()) - 0.5) < 0.01
        assert float(middle.std()) > 0.02


def test_the_seed_decides_and_images_differ():
    images = coordinates(2)
    torch.manual_seed(1)
    first = light_views(images)
    second = light_views(images)
    torch.manual_seed(1)
    torch.testing.assert_close(light_views(images), first, rtol=0, atol=0)
    assert not torch.allclose(first[0], first[1])
    assert not torch.allclose(first, second)


def test_the_shape_stays_for_images_that_are_not_square():
    assert light_views(torch.rand(2, 3, 20, 31)).shape == (2, 3, 20, 31)
