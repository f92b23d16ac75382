"""Heat maps over images."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Heat = npt.NDArray[np.floating[Any]]

_HEAT_TOLERANCE = 1e-3  # half-precision models overshoot 1 by rounding

# Indigo, violet, magenta, orange, yellow: lightness only rises, so the order survives greyscale.
_ANCHORS = np.array(
    [
        [20, 10, 80],
        [90, 10, 150],
        [180, 0, 160],
        [245, 30, 120],
        [255, 110, 60],
        [255, 225, 30],
    ],
    dtype=np.float64,
)
_COLOURS = np.stack(
    [
        np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(_ANCHORS)), channel)
        for channel in _ANCHORS.T
    ],
    axis=-1,
)  # (256, 3) in [0, 255]


def heat_overlay(image: Image.Image, heat: Heat, strength: float = 0.55) -> Image.Image:
    """The RGB image with the heat map laid over it; where heat is 0 it stays unchanged.

    The colour goes from indigo over magenta to yellow. Opacity is `strength` times the square root
    of heat. A warm spot then keeps a violet rim, which sets it apart from yellow or orange objects.

    Args:
        image: RGB, of any size.
        heat: (h, w) in [0, 1], resized to the image by bicubic interpolation.
        strength: Opacity at heat 1, in [0, 1].

    Raises:
        ValueError: If the heat map is not a finite (h, w) grid in [0, 1].
    """
    check_heat(heat)
    resized = _resized(heat, image.size)
    opacity = strength * np.sqrt(resized)[..., None]  # (H, W, 1)
    colour = _COLOURS[np.rint(resized * 255).astype(np.intp)]  # (H, W, 3)
    blended = (1 - opacity) * np.asarray(image, dtype=np.float64) + opacity * colour
    return Image.fromarray(np.rint(blended).astype(np.uint8))


def _resized(heat: Heat, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The heat map resized to `size`, (width, height), as an array (height, width)."""
    coarse = Image.fromarray(np.asarray(heat, dtype=np.float32))
    # Bicubic interpolation overshoots beside a peak.
    return np.clip(np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float64), 0, 1)


def check_heat(heat: Heat) -> None:
    """Checks that the heat map is a finite (h, w) grid in [0, 1].

    Raises:
        ValueError: If it is not.
    """
    if heat.ndim != 2 or heat.size == 0:
        raise ValueError(f"heat map of shape {heat.shape}, expected (h, w); pass one map per image")
    low, high = float(heat.min()), float(heat.max())
    if not (-_HEAT_TOLERANCE <= low and high <= 1 + _HEAT_TOLERANCE):
        raise ValueError(
            f"heat map reaches from {low:.3g} to {high:.3g}, expected [0, 1]; "
            "subtract its minimum and divide by its maximum"
        )
