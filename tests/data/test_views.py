"""Random views: probabilities, values and sizes."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from fgembed.config import ViewSettings
from fgembed.data.views import TwoViews
from fgembed.images.preprocessing import Preprocessing

SPEC = Preprocessing(size=32)
PLAIN = ViewSettings(
    crop_scale=1.0, jitter=0, hue=0, jitter_probability=0, grey_probability=0,
    blur_probability=0, flip_probability=0,
)  # fmt: skip


def test_without_chance_a_view_is_the_normalised_image():
    """Of one colour, so that the crop's aspect does not matter."""
    image = Image.new("RGB", (64, 64), (255, 0, 51))
    first, second = TwoViews(PLAIN, SPEC)(image)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(first[:, 5, 7], torch.tensor(expected))
    torch.testing.assert_close(first, second)
    assert first.shape == (3, 32, 32)


def test_grey_views_have_three_equal_channels():
    settings = PLAIN.model_copy(update={"grey_probability": 1.0})
    view = TwoViews(settings, SPEC)(Image.new("RGB", (40, 40), (200, 30, 90)))[0]
    pixels = view * torch.tensor(SPEC.std).view(3, 1, 1) + torch.tensor(SPEC.mean).view(3, 1, 1)
    torch.testing.assert_close(pixels[0], pixels[1])
    torch.testing.assert_close(pixels[1], pixels[2])


def test_the_asymmetric_pair_is_blurred_always_and_rarely_solarised_rarely_and_never():
    """As in BYOL's table 6: blur 1.0 and 0.1, solarisation 0.0 and 0.2."""
    make = TwoViews(PLAIN.model_copy(update={"asymmetric": True}), SPEC)
    stripes = Image.new("RGB", (32, 32), (200, 10, 10))
    stripes.paste((10, 10, 10), (0, 0, 32, 16))
    sharp = TwoViews(PLAIN, SPEC)(stripes)[0]
    torch.manual_seed(0)
    blurred, solarised = [0, 0], [0, 0]
    for _ in range(300):
        for position, view in enumerate(make(stripes)):
            red = view[0, -1, 0] * SPEC.std[0] + SPEC.mean[0]
            solarised[position] += bool(red < 0.5)  # 200 becomes 55
            rows = view[0, :, 0].unique().numel()
            blurred[position] += bool(rows > sharp[0, :, 0].unique().numel())
    assert solarised[0] == 0
    assert 30 <= solarised[1] <= 90
    assert blurred[0] >= 270  # a sigma of 0.1 px leaves no trace
    assert 12 <= blurred[1] <= 60


def test_saturation_is_jittered_by_its_share_and_half_as_much_in_an_asymmetric_pair():
    for asymmetric, share, saturation in (
        (False, 1, (0.6, 1.4)),
        (True, 1, (0.8, 1.2)),
        (False, 0.25, (0.9, 1.1)),
        (True, 0.5, (0.9, 1.1)),
    ):
        settings = ViewSettings(jitter=0.4, saturation=share, asymmetric=asymmetric)
        for transform in (TwoViews(settings, SPEC).first, TwoViews(settings, SPEC).second):
            jitter = next(
                part.transforms[0]
                for part in transform.transforms
                if isinstance(part, v2.RandomApply)
                and isinstance(part.transforms[0], v2.ColorJitter)
            )
            assert jitter.saturation == pytest.approx(saturation)
            assert jitter.brightness == pytest.approx((0.6, 1.4))


@pytest.mark.parametrize(
    ("side", "size", "pixels"), [(1, 100, 100), (0.7, 160, 112), (0.01, 64, 16)]
)
def test_a_view_s_side_is_a_share_of_the_size_in_steps_of_16(side: float, size: int, pixels: int):
    views = TwoViews(ViewSettings(side=side), Preprocessing(size=size))
    image = Image.new("RGB", (80, 60))
    assert [tuple(view.shape) for view in views(image)] == [(3, pixels, pixels)] * 2
