"""The one preprocessing: find pictures, read them safely, fit them to the model's size.

Everything up to the uint8 square is here (Pillow and numpy); what follows it (to float,
normalise) is inside the exported graph. Training reads its pictures through `load_rgb` too,
so there is one decoder.
"""

import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fgembed.errors import FgembedError, ImageError, IntegrityError, NotFoundError
from fgembed.files import digest
from fgembed.records import record

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # a camera's MPO opens as JPEG
EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
MIN_SIDE = 16
MAX_PIXELS = 89_478_485  # decoded, after a JPEG's reduction: 256 MiB of RGB, Pillow's own limit
TURNS: dict[Any, Image.Transpose] = {  # what undoes each EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the model's input; travels with the model, hashed.

    Attributes:
        size: side of the square input, in pixels.
        fit: `squash` ignores the aspect ratio, `crop` resizes the shorter side to
            size / crop_ratio and keeps the centre, `pad` adds grey to the shorter side.
        resample: Pillow's filter, always with antialiasing.
        draft: a JPEG is decoded at the smallest DCT scale that is still at least
            `draft * size` on both sides.
        crop_ratio: see `fit`; used by `crop` only.
        mean: subtracted from RGB in [0, 1], inside the exported graph.
        std: divides after `mean`, inside the exported graph.
    """

    size: int = 224
    fit: Literal["squash", "crop", "pad"] = "squash"
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"
    draft: int = 2
    crop_ratio: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 4096:
            raise ValueError(f"size {self.size} is not in 16..4096")
        if not 1 <= self.draft <= 8:
            raise ValueError(f"draft {self.draft} is not in 1..8")
        if not 0.1 <= self.crop_ratio <= 1:
            raise ValueError(f"crop_ratio {self.crop_ratio} is not in 0.1..1")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} is not positive")

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: Any, where: Path | str = "a model") -> "Preprocessing":
        """The specification that `to_json` gave; `where` is named where it is damaged.

        Raises:
            IntegrityError: a key is unknown or missing, or a value is out of range.
        """
        try:
            return record(cls, value)
        except ValueError as error:
            raise IntegrityError(f"preprocessing of {where} is damaged: {error}") from None

    def digest(self) -> str:
        """SHA-256 that binds a bundle and an index to this specification."""
        return digest(self.to_json())


@dataclass(frozen=True)
class Skipped:
    """A picture that is left out, and why."""

    path: Path
    reason: str


def find_images(root: Path) -> tuple[list[Path], list[Skipped]]:
    """Every picture below `root` by file extension, sorted; and what could not be looked at.

    Links to folders are followed, each folder once.

    Raises:
        NotFoundError: `root` is no folder, cannot be read, or holds nothing named as a picture.
    """
    if not root.is_dir():
        raise NotFoundError(f"no folder at {root}; give a folder that holds photographs")
    found: list[Path] = []
    skipped: list[Skipped] = []
    _walk(root, found, skipped)
    if skipped and skipped[0].path == root:
        raise NotFoundError(f"cannot read folder {root}: {skipped[0].reason}")
    if not found and not skipped:
        raise NotFoundError(
            f"no pictures in {root}; expected files named {', '.join(sorted(EXTENSIONS))}"
        )
    return sorted(found), skipped


def _walk(root: Path, found: list[Path], skipped: list[Skipped]) -> None:
    pending, seen = [root], set()
    while pending:
        folder = pending.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(folder.iterdir(), reverse=True)
            folders = [path for path in entries if path.is_dir()]
        except OSError as error:
            skipped.append(Skipped(folder, error.strerror or "cannot be read"))
            continue
        pending += folders
        for path in entries:
            if path.suffix.lower() in EXTENSIONS and path not in folders:
                _add(path, found, skipped)


def _add(path: Path, found: list[Path], skipped: list[Skipped]) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        skipped.append(Skipped(path, "file name is not valid UTF-8"))
    else:
        found.append(path)


def load_rgb(source: Path | BinaryIO, at_least: int | None = None) -> Image.Image:
    """An upright 8-bit RGB picture.

    EXIF orientation is applied, transparency laid over white, 16-bit grey reduced to 8, and
    of an animation the first frame is taken. The file's content decides its format, not its
    name.

    Args:
        source: a file or an open binary stream.
        at_least: a JPEG may be decoded at a reduced scale whose sides are still at least
            this many pixels.

    Raises:
        ImageError: it is damaged, of a format that is not allowed, too small or too large.
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
        raise ImageError(name, "not a picture of an allowed format") from None
    except Exception as error:
        # Hostile files make Pillow's decoders raise nearly anything (zlib.error, struct.error,
        # IndexError, MemoryError, its bomb warning as an error): all mean an unreadable picture.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(name, reason) from None


def fit_to_size(image: Image.Image, spec: Preprocessing) -> Pixels:
    """The picture as the model's input, (size, size, 3) uint8."""
    resample = Image.Resampling[spec.resample.upper()]
    square = (spec.size, spec.size)
    if spec.fit == "squash":
        fitted = image.resize(square, resample)
    elif spec.fit == "pad":
        fitted = ImageOps.pad(image, square, resample, color=(124, 116, 104))
    else:
        fitted = ImageOps.fit(image, square, resample, bleed=(1 - spec.crop_ratio) / 2)
    return np.asarray(fitted, dtype=np.uint8)


def read_image(source: Path | BinaryIO, spec: Preprocessing) -> Pixels:
    """`load_rgb` and `fit_to_size` in one: (size, size, 3) uint8."""
    return fit_to_size(load_rgb(source, at_least=spec.draft * spec.size), spec)


def class_names(paths: list[Path], root: Path) -> list[str]:
    """Each picture's label: the first folder below `root` on its way.

    Raises:
        FgembedError: a picture lies directly in `root`, so it has no class folder.
    """
    parts = [path.relative_to(root).parts for path in paths]
    for path, names in zip(paths, parts, strict=True):
        if len(names) < 2:
            raise FgembedError(f"{path} is in no class folder; expected {root}/<class>/{path.name}")
    return [names[0] for names in parts]


def _check_sides(image: Image.Image) -> None:
    if min(image.size) < MIN_SIDE:
        raise ValueError(f"{image.width} x {image.height} px is under {MIN_SIDE} px a side")


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF says; EXIF that cannot be read says nothing."""
    image.load()  # not exif_transpose: it also writes the EXIF anew, which fails on some
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged metadata raises nearly anything
        return image
    return image if turn is None else image.transpose(turn)


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
