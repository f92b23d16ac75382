"""Colours in sRGB: an embedded profile is applied as every viewer does, by LittleCMS.

A profile that is damaged, of another number of channels, or that leaves nothing of the picture
says nothing. One that is sRGB in other words costs nothing: it is found by what it does to a grid
of colours.
"""

import threading
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO

import numpy as np
from PIL import Image

from fgembed.images.limits import MAX_PROFILE_BYTES

ToSrgb = Callable[[Image.Image], Image.Image]
SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}  # mode: space of a profile
SAME = 3  # of 255; a difference up to this is one of rounding
CACHED = 32
_GRID = 9
_transforms: dict[tuple[bytes, str], ToSrgb | None] = {}
_lock = threading.Lock()


def to_srgb(profile: bytes | None, mode: str) -> ToSrgb | None:
    """What turns pixels of `mode` into sRGB in mode RGB; None if they are sRGB or nothing is known.

    Args:
        profile: an ICC profile. Without one LAB is CIE Lab, and nothing is known of the others.
        mode: a key of `SPACES`.
    """
    if profile is None and mode != "LAB":
        return None
    if profile is not None and len(profile) > MAX_PROFILE_BYTES:
        return None
    key = (sha256(profile or b"").digest(), mode)
    with _lock:  # LittleCMS reads a profile once for all threads
        if key not in _transforms:
            if len(_transforms) >= CACHED:
                _transforms.pop(next(iter(_transforms)))
            _transforms[key] = _made(profile, mode)
        return _transforms[key]


def _made(profile: bytes | None, mode: str) -> ToSrgb | None:
    from PIL import ImageCms

    try:
        if profile is None:
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        else:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space != SPACES[mode]:
            return None
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")
        apply: ToSrgb = transform.apply
        grid = _grid(mode)
        return apply if mode == "LAB" or _is_sane(grid, apply(grid)) else None
    except Exception:  # LittleCMS refuses a damaged profile in many ways
        return None


def _grid(mode: str) -> Image.Image:
    """Every mixture of a few levels of each channel."""
    channels = len(mode) if mode != "L" else 1
    levels = np.linspace(0, 255, _GRID if channels > 1 else 256).round().astype(np.uint8)
    mixtures = np.stack(np.meshgrid(*[levels] * channels, indexing="ij"), -1)
    return Image.frombytes(mode, (mixtures.size // channels, 1), mixtures.tobytes())


def _is_sane(grid: Image.Image, converted: Image.Image) -> bool:
    """Whether a profile changes colours, and light stays light and dark dark."""
    before = np.asarray(grid.convert("RGB")).reshape(-1, 3).astype(np.float64)
    after = np.asarray(converted).reshape(-1, 3).astype(np.float64)
    if np.abs(after - before).max() <= SAME:
        return False
    light, shown = before.mean(axis=1), after.mean(axis=1)
    darkest, lightest = shown[light.argmin()], shown[light.argmax()]
    return bool(lightest - darkest >= 100 and np.corrcoef(light, shown)[0, 1] > 0.5)
