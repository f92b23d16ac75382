"""The colour space of an image: its profile, or one made of what the file says in numbers."""

import struct
from collections.abc import Callable
from typing import BinaryIO

from PIL import ExifTags, Image

from fgembed.images.colours.icc_profiles import (
    ADOBE_RGB,
    BT709,
    D65,
    coded_curve,
    coded_profile,
    gamma_curve,
    matrix_profile,
)

SRGB_CODES = (1, 13)  # primaries and transfer of ITU-T H.273
ADOBE_GAMMA = 2.19921875
UNCALIBRATED = 0xFFFF
_HEAD_BYTES = 1 << 16
_PNG_GAMMA = 0.45455
_PNG_MARK_BYTES = 8
_MAX_CHUNKS = 10_000  # before the pixels


def profile_of(kind: str, image: Image.Image, stream: BinaryIO) -> bytes | None:
    """The ICC profile that tells what the pixels mean; None for sRGB and where nothing is said.

    Args:
        kind: see `signatures.kind_of`.
        image: decoded or not.
        stream: the file's content; its position changes.
    """
    named = _NAMED.get(kind)
    profile = image.info.get("icc_profile")
    if profile and kind != "PNG":
        return bytes(profile) if isinstance(profile, bytes) else None
    try:
        return named(image, stream) if named is not None else None
    except Exception:  # damaged metadata raises nearly anything, and says nothing
        return None


def _of_png(image: Image.Image, stream: BinaryIO) -> bytes | None:
    """By cICP, iCCP, sRGB or gAMA with cHRM, in this order of precedence."""
    codes = _png_codes(stream)
    if codes is not None and (codes == SRGB_CODES or coded_profile(*codes) is not None):
        return _coded(*codes)
    info = image.info
    if info.get("icc_profile"):
        return bytes(info["icc_profile"])
    gamma, points = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or not gamma or not 0.25 <= gamma <= 2:
        return None
    curve = coded_curve(13) if abs(gamma - _PNG_GAMMA) < 0.02 else gamma_curve(1 / gamma)
    if not points:
        return matrix_profile(BT709, D65, curve) if curve is not None else None
    white, *primaries = zip(points[::2], points[1::2], strict=True)
    return matrix_profile(primaries, white, curve) if curve is not None else None


def _png_codes(stream: BinaryIO) -> tuple[int, int] | None:
    at = _PNG_MARK_BYTES
    for _ in range(_MAX_CHUNKS):
        stream.seek(at)
        head = stream.read(12)
        if len(head) < 12 or head[4:8] == b"IDAT":
            return None
        if head[:8] == b"\0\0\0\4cICP":
            return head[8], head[9]
        at += 12 + int.from_bytes(head[:4], "big")
    return None


def _of_heif(image: Image.Image, stream: BinaryIO) -> bytes | None:
    codes = image.info.get("nclx_profile") or {}
    return _coded(codes.get("color_primaries", 1), codes.get("transfer_characteristics", 13))


def _of_avif(image: Image.Image, stream: BinaryIO) -> bytes | None:
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)  # Pillow does not tell the codes
    at = head.find(b"colrnclx")
    return _coded(*struct.unpack(">HH", head[at + 8 : at + 12])) if at > 0 else None


def _of_jpeg(image: Image.Image, stream: BinaryIO) -> bytes | None:
    """Adobe RGB, if a camera says so in EXIF alone (DCF 2.0: uncalibrated and R03)."""
    exif = image.getexif()
    if not exif:
        return None
    space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
    if space != 2:
        interoperability = exif.get_ifd(ExifTags.IFD.Interop).get(1)
        if space != UNCALIBRATED or not str(interoperability).startswith("R03"):
            return None
    return matrix_profile(ADOBE_RGB, D65, gamma_curve(ADOBE_GAMMA))


def _coded(primaries: int, transfer: int) -> bytes | None:
    return None if (primaries, transfer) == SRGB_CODES else coded_profile(primaries, transfer)


_NAMED: dict[str, Callable[[Image.Image, BinaryIO], bytes | None]] = {
    "PNG": _of_png,
    "HEIF": _of_heif,
    "AVIF": _of_avif,
    "JPEG": _of_jpeg,
}
