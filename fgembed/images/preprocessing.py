"""How an image becomes the model's input, a uint8 square, with Pillow and numpy.

The conversion to float and the normalisation are inside the exported graph.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps

from fgembed.disk.files import digest
from fgembed.disk.json_records import record
from fgembed.errors import IntegrityError
from fgembed.images.colours.source_colours import Decoded
from fgembed.images.decoding import Pixels, decode

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST_SIDE = 4096
_EARLIER = {"version": 1, "grey": False}  # what a specification without these keys means
_MARGIN = 2  # of the input, that is left to the last resizing


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input; saved with the model and covered by its hash.

    Attributes:
        size: side of the square input, in pixels.
        fit: `squash` ignores the aspect ratio, `crop` resizes the shorter side to
            size / crop_ratio and keeps the centre, `pad` adds grey to the shorter side.
        resample: Pillow's filter, always with antialiasing.
        draft: a JPEG is decoded at the smallest DCT scale at which both sides have at least
            `draft * size` pixels.
        crop_ratio: see `fit`; used by `crop` only.
        mean: subtracted from RGB in [0, 1], inside the exported graph.
        std: divides the difference, inside the exported graph.
        version: how a file's colours are read. 2: its colour profile is applied, transparency lies
            over a ground on which it shows, layouts of TIFF that would be misread are refused. 1:
            as before these, for models and indexes made then.
        grey: whether the input is made grey, by Pillow's luma; it keeps three channels.

    Example:
        >>> Preprocessing(size=8)
        Traceback (most recent call last):
            ...
        ValueError: size 8 is not in 16..4096
    """

    size: int = 224
    fit: Literal["squash", "crop", "pad"] = "squash"
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"
    draft: int = 2
    crop_ratio: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    version: Literal[1, 2] = 2
    grey: bool = False

    def __post_init__(self) -> None:
        if not 16 <= self.size <= LARGEST_SIDE:
            raise ValueError(f"size {self.size} is not in 16..{LARGEST_SIDE}")
        if not 1 <= self.draft <= 8:
            raise ValueError(f"draft {self.draft} is not in 1..8")
        if not 0.1 <= self.crop_ratio <= 1:
            raise ValueError(f"crop_ratio {self.crop_ratio} is not in 0.1..1")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} is not positive")

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object.

        What is as before a key was introduced has none, so that its digest is the same.
        """
        content = asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
        return {key: value for key, value in content.items() if _EARLIER.get(key, ...) != value}

    @classmethod
    def from_json(cls, value: Any, where: Path | str = "the model") -> "Preprocessing":
        """The specification that `to_json` gave.

        Args:
            value: the JSON object.
            where: what it belongs to, for the message.

        Raises:
            IntegrityError: a key is unknown or missing, or a value is out of range.
        """
        try:
            return record(cls, _EARLIER | value if isinstance(value, dict) else value)
        except ValueError as error:
            raise IntegrityError(
                f"preprocessing of {where} is damaged: {error}",
                f"restore {where} from a copy, or make it again",
            ) from None

    def digest(self) -> str:
        """SHA-256 that binds a bundle and an index to this specification."""
        return digest(self.to_json())


def fit_to_size(image: Image.Image, spec: Preprocessing) -> Pixels:
    """The image as the model's input, (size, size, 3) uint8."""
    return _fitted(Decoded(image), spec)


def read_image(source: Path | BinaryIO, spec: Preprocessing) -> Pixels:
    """The image decoded and fitted, (size, size, 3) uint8.

    Raises:
        ImageError: it cannot be decoded.
    """
    return _fitted(decode(source, spec.draft * spec.size, spec.version), spec)


def _fitted(decoded: Decoded, spec: Preprocessing) -> Pixels:
    image, resample = _in_srgb(decoded, spec), Image.Resampling[spec.resample.upper()]
    square = (spec.size, spec.size)
    if spec.fit == "squash":
        fitted = image.resize(square, resample)
    elif spec.fit == "pad":
        fitted = ImageOps.pad(image, square, resample, color=(124, 116, 104))
    else:
        fitted = ImageOps.fit(image, square, resample, bleed=(1 - spec.crop_ratio) / 2)
    return np.asarray(made_grey(fitted) if spec.grey else fitted, dtype=np.uint8)


def made_grey(image: Image.Image) -> Image.Image:
    """The image's luma in all of its three channels."""
    return image.convert("L").convert("RGB")


def _in_srgb(decoded: Decoded, spec: Preprocessing) -> Image.Image:
    """The image in sRGB, made smaller first where it is far larger than the input.

    A conversion costs as much a pixel as decoding. After the last resizing it would be cheaper
    still, but edges that are mixed in another space have other colours. With this margin, the
    cosine with the same picture in sRGB is within 0.002 of that of a conversion in full size.
    """
    if decoded.to_srgb is None:
        return decoded.image
    image, enough = decoded.image, round(_MARGIN * spec.size)
    scale = min(image.size) / enough
    if spec.fit == "squash":
        size = (min(image.width, enough), min(image.height, enough))
    else:
        size = (round(image.width / max(1, scale)), round(image.height / max(1, scale)))
    return decoded.to_srgb(image.resize(size, Image.Resampling.BOX))
