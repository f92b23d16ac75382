"""Random views of a picture: what the training sees."""

from collections.abc import Callable

import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torchvision.transforms import v2

from fgembed.config import ViewSettings
from fgembed.images.preprocessing import Preprocessing

SIDE_STEP = 16  # pixels: what most networks divide a view by before their last stage

ViewMaker = Callable[[Image.Image], list[Tensor]]


class GaussianBlur(nn.Module):
    """Pillow's Gaussian blur with sigma uniform in 0.1..2 px, as MoCo v2 uses it."""

    def forward(self, image: Image.Image) -> Image.Image:
        """The blurred picture."""
        sigma = float(torch.empty(()).uniform_(0.1, 2.0))
        return image.filter(ImageFilter.GaussianBlur(sigma))


class TwoViews:
    """Two random views, each (3, size, size) normalised.

    Alike and independent as in MoCo v2 (arXiv:2003.04297), or, `asymmetric`, the pair of BYOL
    (arXiv:2006.07733, appendix B) that MoCo v3 and LoDisc take.
    """

    def __init__(self, settings: ViewSettings, spec: Preprocessing) -> None:
        if settings.asymmetric:
            self.first = _transform(settings, spec, 1.0, 0.0)
            self.second = _transform(settings, spec, 0.1, 0.2)
        else:
            self.first = self.second = _transform(settings, spec, settings.blur_probability, 0.0)

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """Two views of the picture."""
        return [self.first(image), self.second(image)]


def view_side(settings: ViewSettings, spec: Preprocessing) -> int:
    """Pixels: the share of the size that is asked for, in whole steps."""
    if settings.side == 1:
        return spec.size
    return min(spec.size, max(SIDE_STEP, SIDE_STEP * round(settings.side * spec.size / SIDE_STEP)))


def _transform(
    settings: ViewSettings, spec: Preprocessing, blur: float, solarise: float
) -> v2.Compose:
    strength = settings.jitter
    saturation = strength / 2 if settings.asymmetric else strength
    jitter = v2.ColorJitter(strength, strength, saturation, settings.hue)
    return v2.Compose(
        [
            v2.RandomResizedCrop(view_side(settings, spec), scale=(settings.crop_scale, 1.0)),
            v2.RandomApply([jitter], settings.jitter_probability),
            v2.RandomGrayscale(settings.grey_probability),
            v2.RandomApply([GaussianBlur()], blur),
            *([v2.RandomSolarize(128, solarise)] if solarise else []),
            v2.RandomHorizontalFlip(settings.flip_probability),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(spec.mean), list(spec.std)),
        ]
    )
