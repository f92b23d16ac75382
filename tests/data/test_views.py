"""Random views: probabilities, values and sizes."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from fgembed.config import ViewSettings
from fgembed.data.views import TwoViews, WholeView
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing, fit_to_size

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


def marked() -> Image.Image:
    """Noise, so that every part and its mirror image differ."""
    generator = np.random.default_rng(0)
    return Image.fromarray(generator.integers(0, 256, (60, 90, 3), dtype=np.uint8))


def normalised(pixels: Pixels) -> torch.Tensor:
    values = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
    return (values - torch.tensor(SPEC.mean).view(3, 1, 1)) / torch.tensor(SPEC.std).view(3, 1, 1)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_whole_view_without_chance_is_the_image_as_it_is_embedded(
    fit: Literal["squash", "crop", "pad"],
):
    spec = replace(SPEC, fit=fit, resample="bicubic")
    view = WholeView(PLAIN, spec)(marked())[0]
    torch.testing.assert_close(view, normalised(fit_to_size(marked(), spec)))


def test_a_whole_view_is_flipped_as_often_as_the_settings_say():
    plain = normalised(fit_to_size(marked(), SPEC))
    torch.manual_seed(0)
    for probability, lowest, highest in ((0, 0, 0), (0.5, 15, 45), (1, 60, 60)):
        make = WholeView(PLAIN.model_copy(update={"flip_probability": probability}), SPEC)
        views = [make(marked())[0] for _ in range(60)]
        flipped = sum(torch.allclose(view, plain.flip(2), atol=1e-5) for view in views)
        assert lowest <= flipped <= highest


def test_a_whole_view_zooms_in_by_the_smallest_crop_at_most_keeping_the_aspect():
    """Of a ramp in both directions; what it spans and where tells the part that is shown."""
    across, down = np.meshgrid(np.linspace(0, 250, 250), np.linspace(0, 250, 125))
    ramp = Image.fromarray(np.stack([across, down, down], axis=2).astype(np.uint8))
    make = WholeView(PLAIN.model_copy(update={"crop_scale": 0.64}), SPEC)
    std, mean = torch.tensor(SPEC.std).view(3, 1, 1), torch.tensor(SPEC.mean).view(3, 1, 1)
    torch.manual_seed(0)
    pixels = torch.stack([make(ramp)[0] * std + mean for _ in range(200)]) * 255
    # Centres of the first and the last of 32 pixels are 31 / 32 of a side apart.
    wide = (pixels[:, 0, 16, -1] - pixels[:, 0, 16, 0]) / 250 * 32 / 31
    high = (pixels[:, 1, -1, 16] - pixels[:, 1, 0, 16]) / 250 * 32 / 31
    torch.testing.assert_close(wide, high, atol=0.03, rtol=0)
    assert 0.77 < float(wide.min()) < 0.83
    assert 0.97 < float(wide.max()) < 1.02
    assert float(pixels[:, 0, 16, 0].max()) > 25  # from the left edge to a tenth off it
