"""How version 1 of the preprocessing reads colours; indexes and bundles made with it keep it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """The pixels in RGB: no colour profile counts, and white lies under transparency.

    Raises:
        ValueError: the pixels are floating-point numbers, or exceed 16 bits.
    """
    if image.mode.startswith("I"):
        return Image.fromarray(_high_byte(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels are not supported; convert it to 8 bits")
    if image.mode == "LAB":
        raise ValueError("conversion from LAB to RGB not supported")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _high_byte(grey: NDArray[Any]) -> NDArray[np.uint8]:
    if grey.max() > 0xFFFF or grey.min() < 0:
        raise ValueError("grey values exceed 16 bits; convert it to 8 bits")
    return (grey.astype(np.uint16) >> 8).astype(np.uint8)
