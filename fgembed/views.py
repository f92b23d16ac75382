"""Random views of a picture: what the training sees."""

from collections.abc import Callable

import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torchvision.transforms import v2

from fgembed.config import ViewSettings
from fgembed.images import Preprocessing

ViewMaker = Callable[[Image.Image], list[Tensor]]


class GaussianBlur(nn.Module):
    """Pillow's Gaussian blur with sigma uniform in 0.1..2 px, as MoCo v2 uses it."""

    def forward(self, image: Image.Image) -> Image.Image:
        """The blurred picture."""
        sigma = float(torch.empty(()).uniform_(0.1, 2.0))
        return image.filter(ImageFilter.GaussianBlur(sigma))


class TwoViews:
    """Two independent MoCo v2 views (arXiv:2003.04297), each (3, size, size) normalised."""

    def __init__(self, settings: ViewSettings, spec: Preprocessing) -> None:
        strength = settings.jitter
        jitter = v2.ColorJitter(strength, strength, strength, settings.hue)
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(spec.size, scale=(settings.crop_scale, 1.0)),
                v2.RandomApply([jitter], settings.jitter_probability),
                v2.RandomGrayscale(settings.grey_probability),
                v2.RandomApply([GaussianBlur()], settings.blur_probability),
                v2.RandomHorizontalFlip(settings.flip_probability),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(spec.mean), list(spec.std)),
            ]
        )

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """Two views of the picture."""
        return [self.transform(image), self.transform(image)]
