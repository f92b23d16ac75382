"""Random views of an image, the input of the training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torchvision.transforms import v2

from fgembed.config import ViewSettings
from fgembed.data.turning import RandomTurn
from fgembed.images.preprocessing import Preprocessing, fit_to_size

SIDE_STEP = 16  # pixels; the stride of most networks before their last stage

ViewMaker = Callable[[Image.Image], list[Tensor]]


class GaussianBlur(nn.Module):
    """Pillow's Gaussian blur with sigma uniform in 0.1..2 px, as in MoCo v2 (arXiv:2003.04297)."""

    def forward(self, image: Image.Image) -> Image.Image:
        """The blurred image."""
        sigma = float(torch.empty(()).uniform_(0.1, 2.0))
        return image.filter(ImageFilter.GaussianBlur(sigma))


class TwoViews:
    """Two random views, each (3, size, size) normalised.

    Both are drawn from one distribution as in MoCo v2 (arXiv:2003.04297). With `asymmetric` they
    follow BYOL's two (arXiv:2006.07733, appendix B), as in MoCo v3 and LoDisc.

    Example:
        >>> views = TwoViews(ViewSettings(), Preprocessing(size=32))(Image.new("RGB", (64, 48)))
        >>> [tuple(view.shape) for view in views]
        [(3, 32, 32), (3, 32, 32)]
    """

    def __init__(self, settings: ViewSettings, spec: Preprocessing) -> None:
        if settings.asymmetric:
            self.first = _transform(settings, spec, 1.0, 0.0)
            self.second = _transform(settings, spec, 0.1, settings.solarise_probability)
        else:
            self.first = self.second = _transform(settings, spec, settings.blur_probability, 0.0)

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """Two views of the image."""
        return [self.first(image), self.second(image)]


class RandomZoom(nn.Module):
    """An image as it is embedded, of a part that has its aspect and lies anywhere in it.

    Attributes:
        smallest: share of the area of the smallest part; 1 gives the image itself.
        spec: the preprocessing.
    """

    def __init__(self, smallest: float, spec: Preprocessing) -> None:
        super().__init__()
        self.smallest = smallest
        self.spec = spec

    def forward(self, image: Image.Image) -> Image.Image:
        """The part, fitted to the size."""
        share, across, down = torch.rand(3).tolist()
        share = self.smallest**0.5 + (1 - self.smallest**0.5) * share
        width, height = (max(1, round(share * side)) for side in image.size)
        left = round(across * (image.width - width))
        top = round(down * (image.height - height))
        part = image.crop((left, top, left + width, top + height))
        return Image.fromarray(fit_to_size(part, self.spec))


class WholeView:
    """One random view at the full size: the image as it is embedded, or nearly.

    Example:
        >>> views = WholeView(ViewSettings(), Preprocessing(size=32))(Image.new("RGB", (64, 48)))
        >>> [tuple(view.shape) for view in views]
        [(3, 32, 32)]
    """

    def __init__(self, settings: ViewSettings, spec: Preprocessing) -> None:
        zoom = RandomZoom(settings.crop_scale, spec)
        self.transform = _transform(settings, spec, settings.blur_probability, 0.0, zoom)

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """The view of the image."""
        return [self.transform(image)]


@dataclass(frozen=True)
class Positioned:
    """A view maker after whose views the loader adds the image's position in the training set."""

    make: ViewMaker

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """The views alone."""
        return self.make(image)


def view_side(settings: ViewSettings, spec: Preprocessing) -> int:
    """Side of a view in pixels: the requested share of the image size, in steps of 16 px.

    Example:
        >>> view_side(ViewSettings(side=0.7), Preprocessing(size=160))
        112
    """
    if settings.side == 1:
        return spec.size
    return min(spec.size, max(SIDE_STEP, SIDE_STEP * round(settings.side * spec.size / SIDE_STEP)))


def _transform(
    settings: ViewSettings,
    spec: Preprocessing,
    blur: float,
    solarise: float,
    crop: nn.Module | None = None,
) -> v2.Compose:
    strength = settings.jitter
    saturation = settings.saturation * (strength / 2 if settings.asymmetric else strength)
    jitter = v2.ColorJitter(strength, strength, saturation, settings.hue)
    return v2.Compose(
        [
            *([RandomTurn(settings.turn, spec.draft * spec.size)] if settings.turn else []),
            crop
            or v2.RandomResizedCrop(view_side(settings, spec), scale=(settings.crop_scale, 1.0)),
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
