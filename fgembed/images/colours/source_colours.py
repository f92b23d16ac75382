"""The decoded image in 8 bits and without transparency, and what turns its colours into sRGB."""

from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fgembed.images.colours.named_colours import profile_of
from fgembed.images.colours.srgb import ToSrgb, to_srgb
from fgembed.images.colours.transparency import over_ground
from fgembed.images.limits import RefusedError

SHARES = {8: "a 256th", 10: "a 64th", 12: "a sixteenth", 14: "a quarter"}  # of a 16-bit range


@dataclass(frozen=True)
class Decoded:
    """An upright image in the colours of its file.

    Attributes:
        image: in RGB, or in a mode that `to_srgb` takes.
        to_srgb: gives the image, in any size, in sRGB; None if it is in sRGB already.
        note: what its reader should be told, as the rest of a sentence that begins with its name.
    """

    image: Image.Image
    to_srgb: ToSrgb | None = None
    note: str | None = None

    def in_srgb(self) -> Image.Image:
        """The image in sRGB."""
        return self.image if self.to_srgb is None else self.to_srgb(self.image)


def in_source_colours(
    kind: str, image: Image.Image, stream: BinaryIO, sixteen_bits: bool
) -> Decoded:
    """A loaded image in 8 bits, opaque, and with what its colours mean.

    Args:
        kind: see `signatures.kind_of`.
        image: upright.
        stream: the file's content.
        sixteen_bits: Pillow has reduced 16 bits a channel to 8.

    Raises:
        RefusedError: its pixels cannot be told apart from others, or none is visible.
    """
    profile = profile_of(kind, image, stream)
    is_embedded = profile == image.info.get("icc_profile")
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    note = None
    if image.mode.startswith("I"):
        values, white = np.asarray(image), int(image.info.get("white", 0xFFFF))
        note = _partial_range(int(values.max())) if white == 0xFFFF else None
        values = _in_bytes(values, white)
        image = Image.fromarray(255 - values if image.info.get("white_is_zero") else values)
    elif sixteen_bits and image.mode != "CMYK":
        note = _partial_range(max(high for _, high in _ranges(image)) << 8)
    flat = _opaque(image)
    if grey and profile is not None and not is_embedded:
        flat = flat.convert("RGB")  # a profile made of numbers is one of RGB
    elif grey and profile is not None:
        convert = to_srgb(profile, "L")
        return Decoded(flat.convert("RGB" if convert is None else "L"), convert, note)
    convert = to_srgb(profile, flat.mode) if flat.mode in ("RGB", "CMYK", "LAB") else None
    return Decoded(flat if convert is not None else flat.convert("RGB"), convert, note)


def _partial_range(highest: int) -> str | None:
    """What to say of 16-bit values that leave their upper bits empty.

    Example:
        >>> _partial_range(4095)
        'uses a sixteenth of its 16-bit range and is read too dark; if its values have 12 bits, \
multiply them by 16'
    """
    bits = next((bits for bits in SHARES if highest < 1 << bits), None)
    if bits is None or highest == 0:
        return None
    return (
        f"uses {SHARES[bits]} of its 16-bit range and is read too dark; if its values have {bits} "
        f"bits, multiply them by {1 << (16 - bits)}"
    )


def _opaque(image: Image.Image) -> Image.Image:
    """The image in RGB, L, CMYK or LAB."""
    if image.mode == "F":
        raise RefusedError("floating-point pixels are not supported; convert it to 8 bits")
    if image.has_transparency_data:
        return over_ground(image.convert("RGBA"))
    return image if image.mode in ("RGB", "L", "CMYK", "LAB") else image.convert("RGB")


def _in_bytes(grey: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Grey values up to `white` as 8 bits."""
    if grey.max() > 0xFFFF or grey.min() < 0:
        raise RefusedError("grey values exceed 16 bits; convert it to 8 bits")
    bits = white.bit_length()
    return (np.minimum(grey.astype(np.uint16), white) >> (bits - 8)).astype(np.uint8)


def _ranges(image: Image.Image) -> list[tuple[int, int]]:
    """The lowest and highest value of each channel of colour."""
    ranges: Any = image.getextrema()
    channels = [ranges] if isinstance(ranges[0], int) else list(ranges)
    return channels[: 3 if len(channels) > 3 else len(channels)]
