"""What lies under a transparent image: white, unless its outline would be lost on white.

The outline is what is visible beside what is not. White things lose theirs on white, so a darker
ground is taken then. An opaque image has no outline and needs no ground.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GROUNDS = (255, 128, 0, 192, 64)  # grey values, the most usual first
# A ground other than white must save at least this share of the outline: an outline of many
# colours loses a little on any ground, and most cut-out images are compared on white.
ADVANTAGE = 0.05
LOST, SEEN = 16, 64  # difference of the brightest-differing channel at which an outline is ...
_SIDE = 96  # of the small image that the outline is judged on


def over_ground(image: Image.Image) -> Image.Image:
    """The image without transparency, in RGB.

    An image that is transparent everywhere but holds colours is taken as opaque: its alpha channel
    means something else.

    Args:
        image: in mode RGBA.

    Raises:
        ValueError: it is transparent everywhere and of one colour.
    """
    alpha = image.getchannel("A")
    lowest, highest = alpha.getextrema()
    if lowest == 255:
        return image.convert("RGB")
    if highest == 0:
        opaque = image.convert("RGB")
        if len(opaque.getcolors(1) or ()) == 1:
            raise ValueError("it is fully transparent; save it with visible pixels")
        return opaque
    level = ground(image)
    under = Image.new("RGBA", image.size, (level, level, level, 255))
    return Image.alpha_composite(under, image).convert("RGB")


def ground(image: Image.Image) -> int:
    """The grey value under an image in mode RGBA.

    Example:
        >>> shape = Image.new("RGBA", (64, 64))
        >>> shape.paste("white", (8, 8, 40, 40))
        >>> ground(shape)
        128
        >>> shape.paste("navy", (8, 8, 40, 40))
        >>> ground(shape)
        255
    """
    colours, weights = _outline(image)
    if not weights.any():
        return GROUNDS[0]
    losses = [_lost(colours, weights, level) for level in GROUNDS]
    costs = [losses[0] - ADVANTAGE, *losses[1:]]
    return GROUNDS[int(np.argmin(costs))]


def _outline(image: Image.Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours (N, 3), and how much of each is visible beside something that is not."""
    scale = max(image.size) / _SIDE
    if scale > 1:
        size = (max(1, round(image.width / scale)), max(1, round(image.height / scale)))
        image = image.resize(size, Image.Resampling.BOX)  # Pillow weighs colours by alpha
    pixels = np.asarray(image, np.float32)
    visible = pixels[..., 3] / 255
    around = np.pad(1 - visible, 1)
    rows, columns = visible.shape
    hidden = np.max(
        [around[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0
    )
    return pixels[..., :3].reshape(-1, 3), (visible * hidden).ravel()


def _lost(colours: NDArray[np.float32], weights: NDArray[np.float32], level: int) -> float:
    """The share of the outline that cannot be told from the ground."""
    difference = np.abs(colours - level).max(axis=1)
    alike = np.clip((SEEN - difference) / (SEEN - LOST), 0, 1)
    return float((alike * weights).sum() / weights.sum())
