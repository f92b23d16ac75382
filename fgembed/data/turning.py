"""Turns an image in its plane, without corners that would tell the angle."""

import math

import numpy as np
import torch
from PIL import Image
from torch import nn


class RandomTurn(nn.Module):
    """Turns an image by an angle uniform in +-`degrees`; what enters at the corners is reflected.

    Attributes:
        degrees: the largest angle, 0..180.
        at_least: pixels of the shorter side that are enough; a larger image is reduced first,
            by a whole factor.
    """

    def __init__(self, degrees: float, at_least: int) -> None:
        super().__init__()
        self.degrees = degrees
        self.at_least = at_least

    def forward(self, image: Image.Image) -> Image.Image:
        """The turned image."""
        angle = float(torch.empty(()).uniform_(-self.degrees, self.degrees))
        factor = min(image.size) // self.at_least
        return turned(image.reduce(factor) if factor > 1 else image, angle)


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """The image turned counter-clockwise about its middle, at the same scale.

    The frame is the image's, or lies on its side where that is nearer to the angle. Where it
    reaches beyond the image, at 45 degrees in a sixth of a square, it shows the image's reflection.

    Args:
        image: RGB.
        degrees: any angle.

    Example:
        >>> turned(Image.new("RGB", (40, 30)), 100).size
        (30, 40)
    """
    quarters = round(degrees / 90)
    upright = image.rotate(90 * quarters, expand=True)
    rest = degrees - 90 * quarters  # -45..45
    width, height = upright.size
    sine, cosine = abs(math.sin(math.radians(rest))), math.cos(math.radians(rest))
    across = _beyond(width * cosine + height * sine - width)
    down = _beyond(height * cosine + width * sine - height)
    margins = ((down, down), (across, across), (0, 0))
    reflected = np.pad(np.asarray(upright), margins, mode="symmetric")
    whole = Image.fromarray(reflected).rotate(rest, Image.Resampling.BILINEAR)
    return whole.crop((across, down, across + width, down + height))


def _beyond(excess: float) -> int:
    """Pixels to add at each of two edges; one more than needed, for the interpolation."""
    return max(0, math.ceil(excess / 2)) + 1
