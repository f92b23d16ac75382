"""Camera raw by rawpy (LibRaw): the camera's own preview where it is large enough.

A preview is what the camera's screen and most viewers show. Without one the sensor's data are
developed with the camera's white balance, at half the size if that is enough.
"""

import threading
from io import BytesIO
from typing import Any, BinaryIO

from PIL import ExifTags, Image

from fgembed.images.formats import tiff_tags
from fgembed.images.formats.extras import needed_for
from fgembed.images.limits import RefusedError, check_pixels, check_sides

TURNED = {  # undoes LibRaw's `flip`
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.ROTATE_90,
    6: Image.Transpose.ROTATE_270,
}
SIDEWAYS = (5, 6)
_ONE_BY_ONE = threading.Lock()  # LibRaw computes with all cores by itself
MAX_PIXELS_A_BYTE = 32  # more is a lie, and would be developed for minutes


def opened(stream: BinaryIO, at_least: int | None) -> Image.Image:
    """The photograph; without `at_least` always developed in full.

    Raises:
        RefusedError: the extra `formats` is missing, or the image is too small or too large.
        ValueError: LibRaw cannot read it.
    """
    with needed_for("camera raw"):
        import rawpy
    _check_pattern(stream)
    try:
        with _ONE_BY_ONE:
            return _photograph(rawpy, stream.read(), at_least)
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else "damaged"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"damaged camera raw: {text}") from None


def _check_pattern(stream: BinaryIO) -> None:
    """LibRaw takes whatever its memory holds for a colour pattern that lies outside the file."""
    for page in tiff_tags.pages(stream):
        if not page.get(tiff_tags.CFA_PATTERN, [0]):
            raise ValueError("damaged camera raw: its colour pattern lies outside the file")
    stream.seek(0)


def _photograph(rawpy: Any, content: bytes, at_least: int | None) -> Image.Image:
    with rawpy.imread(BytesIO(content)) as raw:
        width, height = raw.sizes.width, raw.sizes.height
        check_sides(width, height)
        check_pixels(width, height)
        if width * height > MAX_PIXELS_A_BYTE * len(content):
            raise RefusedError(f"damaged camera raw: {width} x {height} px in {len(content)} bytes")
        if at_least is not None:
            preview = _preview(raw, at_least)
            if preview is not None:
                return preview
        half = at_least is not None and min(width, height) // 2 >= at_least
        developed = raw.postprocess(use_camera_wb=True, half_size=half, output_bps=8)
        return Image.fromarray(developed)


def _preview(raw: Any, at_least: int) -> Image.Image | None:
    """The upright preview if both sides have at least `at_least` pixels."""
    from PIL.JpegImagePlugin import JpegImageFile

    try:
        data = raw.extract_thumb().data  # a JPEG file, or pixels
        is_file = isinstance(data, bytes)
        image = JpegImageFile(BytesIO(data)) if is_file else Image.fromarray(data)
        if min(image.size) < at_least or image.mode not in ("RGB", "L"):
            return None
        check_pixels(*image.size)
        turned = ExifTags.Base.Orientation in image.getexif()
        image.draft("RGB", (at_least, at_least))
        image.load()
    except Exception:  # no preview, or a damaged one: the sensor's data are there
        return None
    flip = raw.sizes.flip
    lies = (image.width > image.height) == (raw.sizes.width > raw.sizes.height)
    if turned or flip not in TURNED or (flip in SIDEWAYS and not lies):
        return image
    return image.transpose(TURNED[flip])
