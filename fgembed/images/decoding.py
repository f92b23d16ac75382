"""The only image decoder: a file becomes upright 8-bit RGB, or an error says why not."""

import stat
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fgembed.errors import ImageError
from fgembed.images.colours.earlier_reading import to_rgb
from fgembed.images.colours.source_colours import Decoded, in_source_colours
from fgembed.images.formats.opening import opened
from fgembed.images.formats.signatures import kind_of
from fgembed.images.limits import (
    RefusedError,
    check_pixels,
    check_sides,
    raise_if_out_of_files,
    room_for,
)

READING = 2  # how colours are read: 1 as before profiles and grounds counted, 2 as viewers do
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
MAX_NAMED = 20
_named: set[str] = set()


def load_rgb(
    source: Path | BinaryIO, at_least: int | None = None, reading: int = READING
) -> Image.Image:
    """The image in upright 8-bit sRGB, by its first frame or main picture.

    Applies the EXIF orientation and the colour profile, lays transparency over a ground on which it
    shows, and reduces 16-bit grey to 8 bits. The content of a file decides its format, not its
    name. docs/formats.md has the formats.

    Args:
        source: a file or an open binary stream.
        at_least: decode a JPEG at a reduced scale (1/2, 1/4 or 1/8) if both sides still have at
            least this many pixels.
        reading: the version, see `Preprocessing.version`.

    Raises:
        ImageError: the image is damaged, of a format that is not allowed, too small or too large.
        OSError: this process has too many open files, of which the image knows nothing.
    """
    decoded = decode(source, at_least, reading)
    image = decoded.image
    if decoded.to_srgb is not None and at_least is not None:
        factor = min(image.size) // at_least
        if factor > 1:  # what is not needed is not converted
            size = (image.width // factor, image.height // factor)
            decoded = Decoded(image.resize(size, Image.Resampling.BOX), decoded.to_srgb)
    return decoded.in_srgb()


def decode(source: Path | BinaryIO, at_least: int | None = None, reading: int = READING) -> Decoded:
    """The image for `load_rgb`, before its colours are converted; arguments and errors as there."""
    name = source if isinstance(source, Path) else "<stream>"
    try:
        decoded = _from_source(source, at_least, reading)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # Hostile files make decoders raise nearly anything (zlib.error, struct.error, IndexError,
        # MemoryError, a warning as an error, the panic of one in Rust, which is no Exception): all
        # mean an unreadable image.
        raise_if_out_of_files(error)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        is_missing = isinstance(error, FileNotFoundError)
        raise ImageError(name, " ".join(reason.split()), is_missing=is_missing) from None
    if decoded.note is not None:
        _name_once(f"{name} {decoded.note}")
    return decoded


def _from_source(source: Path | BinaryIO, at_least: int | None, reading: int) -> Decoded:
    if not isinstance(source, Path):
        return _from_stream(source, at_least, reading)
    if not stat.S_ISREG(source.stat().st_mode):
        raise ValueError("not a file")  # opening a named pipe would wait for ever
    with source.open("rb") as stream:
        return _from_stream(stream, at_least, reading)


def _from_stream(stream: BinaryIO, at_least: int | None, reading: int) -> Decoded:
    kind = kind_of(stream)
    if kind is None:
        raise ValueError("not an image of a supported format")
    try:
        return _attempt(kind, stream, at_least, reading)
    except RefusedError:
        raise
    except Exception as error:
        reason = f"damaged {kind}: {error}" if isinstance(error, SyntaxError) else error
        try:
            from fgembed.images.formats.repair import repaired  # a search starts without it

            second = repaired(kind, stream)
            if second is None:
                raise error
            return _attempt(kind, BytesIO(second.content), at_least, reading, second.info)
        except RefusedError:
            raise
        except Exception:
            raise reason if isinstance(reason, Exception) else ValueError(reason) from None


def _attempt(
    kind: str,
    stream: BinaryIO,
    at_least: int | None,
    reading: int,
    repairs: dict[str, Any] | None = None,
) -> Decoded:
    """The image, or whatever its decoder raises; `repairs` if the content has been repaired."""
    image = opened(kind, stream, at_least, checked=reading > 1)
    image.info.update(repairs or {})
    check_sides(*image.size)
    if image.info.get("progressive"):
        check_pixels(*image.size)  # libjpeg keeps all of its coefficients, whatever the scale
    if at_least is not None:
        image.draft("RGB", (at_least, at_least))
    check_pixels(*image.size)
    with room_for(*image.size):
        raw_mode = _raw_mode(image)
        image.load()  # not exif_transpose: it also writes the EXIF again, which can fail
        if repairs is not None and kind == "JPEG":
            from fgembed.images.formats.repair import lacks_rows

            if lacks_rows(image):
                raise ValueError("image file is truncated")
        image = _upright(image)
        if reading == 1:
            return Decoded(to_rgb(image))
        return in_source_colours(kind, image, stream, ";16" in raw_mode)


def _raw_mode(image: Image.Image) -> str:
    """How the file packs its samples, in Pillow's terms, for example `RGB;16B`."""
    tiles = getattr(image, "tile", None) or [(None, None, None, "")]
    arguments = tiles[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; EXIF that cannot be read is ignored."""
    try:
        transpose = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged metadata raises nearly anything
        return image
    if transpose is None:
        return image
    turned = image.transpose(transpose)
    turned.info = image.info
    return turned


def _name_once(note: str) -> None:
    """Warns about an image, once in a process; after many it says that it stops."""
    if note in _named or len(_named) > MAX_NAMED:
        return
    _named.add(note)
    more = "; further images like it are not named" if len(_named) > MAX_NAMED else ""
    warnings.warn(note + more, stacklevel=4)
