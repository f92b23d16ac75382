"""What the tests of loader processes share: loaders of small views, disturbed or not."""

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from torch import Tensor

from fgembed.config import ViewSettings
from fgembed.data.loading import EpochBatches, TrainingImages, make_loader
from fgembed.data.views import TwoViews
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing

SPEC = Preprocessing(size=32)
Views = list[Tensor]


class Disturbed:
    """A view maker that does something in a loader process before its views."""

    def __init__(self, disturb: Callable[[], None]) -> None:
        self.views = TwoViews(ViewSettings(), SPEC)
        self.disturb = disturb
        self.parent = os.getpid()

    def __call__(self, image: Image.Image) -> Views:
        if os.getpid() != self.parent:
            self.disturb()
        return self.views(image)


def keys() -> EpochBatches:
    return EpochBatches(24, 5, epochs=3, seed=1, start=2)


def images_of(photos: Path, maker: Callable[[Image.Image], Views]) -> TrainingImages:
    return TrainingImages(find_images(photos / "train")[0], maker, SPEC, seed=3)


def loaded(
    photos: Path, workers: int, disturb: Callable[[], None] = lambda: None, ahead: int = 2
) -> list[Views]:
    return list(make_loader(images_of(photos, Disturbed(disturb)), keys(), workers, ahead))


def no_sharing(*_: object) -> bool:
    return False
