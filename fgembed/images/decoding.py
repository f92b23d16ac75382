"""The only image decoder: a file becomes upright 8-bit RGB, or an error says why not."""

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from fgembed.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # a camera's MPO opens as JPEG
MIN_SIDE = 16
MAX_PIXELS = 89_478_485  # decoded, after a JPEG's reduction: 256 MiB of RGB, Pillow's own limit
UPRIGHT: Mapping[Any, Image.Transpose] = {  # undoes each EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Pixels = NDArray[np.uint8]


def load_rgb(source: Path | BinaryIO, at_least: int | None = None) -> Image.Image:
    """The image in upright 8-bit RGB.

    Applies the EXIF orientation, composites transparency over white, reduces 16-bit grey to 8 bits
    and takes the first frame of an animation. The content of a file decides its format, not its
    name.

    Args:
        source: a file or an open binary stream.
        at_least: decode a JPEG at a reduced scale (1/2, 1/4 or 1/8) if both sides still have at
            least this many pixels.

    Raises:
        ImageError: the image is damaged, of a format that is not allowed, too small or too large.
    """
    name = source if isinstance(source, Path) else "<stream>"
    try:
        if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
            raise ValueError("not a file")  # opening a named pipe would wait for ever
        with Image.open(source, formats=FORMATS) as image:
            _check_sides(image)
            if at_least is not None:
                image.draft("RGB", (at_least, at_least))
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} px is too large to decode")
            return _to_rgb(_upright(image))
    except UnidentifiedImageError:
        raise ImageError(name, "not an image of a supported format") from None
    except Exception as error:
        # Hostile files make Pillow's decoders raise nearly anything (zlib.error, struct.error,
        # IndexError, MemoryError, its bomb warning as an error): all mean an unreadable image.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(name, reason) from None


def _check_sides(image: Image.Image) -> None:
    if min(image.size) < MIN_SIDE:
        raise ValueError(f"{image.width} x {image.height} px is under {MIN_SIDE} px a side")


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; EXIF that cannot be read is ignored."""
    image.load()  # not exif_transpose: it also writes the EXIF again, which can fail
    try:
        transpose = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged metadata raises nearly anything
        return image
    return image if transpose is None else image.transpose(transpose)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_high_byte(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels are not supported; convert it to 8 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _high_byte(grey: NDArray[Any]) -> Pixels:
    if grey.max() > 0xFFFF or grey.min() < 0:
        raise ValueError("grey values exceed 16 bits; convert it to 8 bits")
    return (grey.astype(np.uint16) >> 8).astype(np.uint8)
