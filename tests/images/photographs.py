"""Drawn photographs, and their files in the formats that Pillow does not write."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tests.images.tiff_writer import tiff, with_sub_page

Pixels = np.ndarray
CFA = {33421: [2, 2], 33422: bytes([0, 1, 1, 2]), 50706: bytes([1, 4, 0, 0])}


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A colourful picture with soft and hard edges."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 255, (6, 8, 3), np.uint8))
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for x, y, side in draw.integers(8, 200, (12, 3)).tolist():
        pen.ellipse([x, y, x + side, y + side], fill=tuple(draw.integers(0, 255, 3).tolist()))
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file that Pillow, or a plugin that is registered with it, writes."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def heic(image: Image.Image, **options: Any) -> bytes:
    """As a telephone writes it."""
    import pillow_heif

    stream = BytesIO()
    pillow_heif.from_pillow(image).save(stream, **options)
    return stream.getvalue()


def jpeg_xl(image: Image.Image, **options: Any) -> bytes:
    """By libjxl."""
    import pillow_jxl  # noqa: F401  # registers itself

    return encoded(image, "JXL", **options)


def dng(image: Image.Image, preview: bytes | None = None, orientation: int = 1) -> bytes:
    """A digital negative: each pixel holds one of red, green and blue, in linear 16 bits."""
    rgb = np.asarray(image)
    mosaic = rgb[..., 1].astype(np.float64)
    mosaic[::2, ::2], mosaic[1::2, 1::2] = rgb[::2, ::2, 0], rgb[1::2, 1::2, 2]
    linear = ((mosaic / 255) ** 2.2 * 65535).astype(np.uint16)
    tags = CFA | {254: 0, 271: b"Drawn\0", 272: b"Drawn\0", 274: orientation}
    if preview is None:
        return tiff(linear, 32803, tags=tags)
    width, height = Image.open(BytesIO(preview)).size
    empty = np.zeros((height, width, 3), np.uint8)
    return with_sub_page(
        lambda pointer: tiff(linear, 32803, tags=tags | {330: pointer}),
        lambda place: tiff(empty, 6, rows=height, tags={254: 1, 259: 7}, data=preview, base=place),
    )
