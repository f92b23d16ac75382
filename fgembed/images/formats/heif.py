"""HEIC and other HEIF by pi_heif (libheif and libde265), without what it reads beside the pixels.

`pi_heif.HeifImage` reads all metadata when it is made, and ends the process where the type of a
damaged item is no UTF-8. Here only the pixels and their colours are asked for: libheif turns the
image upright by itself, and EXIF has no say (ISO/IEC 23008-12, 6.5.10).
"""

from typing import Any, BinaryIO

from PIL import Image

from fgembed.images.formats.extras import needed_for
from fgembed.images.limits import check_pixels, check_sides

THREADS = 4  # of a decoder; a telephone's photograph has a grid of parts


def opened(stream: BinaryIO) -> Image.Image:
    """The primary image in 8 bits.

    Raises:
        RefusedError: the decoder is missing, or the image is too small or too large.
        Exception: whatever it raises for a damaged file.
    """
    with needed_for("HEIC", "pi-heif"):
        from _pi_heif import load_file
    # Arguments: threads, 8 bits, not BGR, rows without gaps, not 16 bits, any decoder, its limits.
    images = load_file(stream.read(), THREADS, True, False, True, False, "", False)
    found = [image for image in images if image is not None]
    if not found:
        raise ValueError("damaged HEIF: it holds no image")
    main: Any = next((image for image in found if image.primary), found[0])
    size, _ = main.size_mode
    check_sides(*size)
    check_pixels(*size)
    profile = main.color_profile or {}
    pixels = main.data  # the size may be another once it is decoded
    size, mode = main.size_mode
    image = Image.frombytes(mode, size, pixels, "raw", mode, main.stride)
    if profile.get("type") in ("rICC", "prof"):
        image.info["icc_profile"] = profile["data"]
    elif profile:
        image.info["nclx_profile"] = profile["data"]
    return image
