"""Draws a labelled, fine-grained set of look-alikes: beetles that differ in one small part only.

Every species has the same body. Colour, light, background, clutter, pose and camera vary from
image to image and carry no information about the species. One mark on the shell does, and its
position in the image is known. The set needs no download, and gives a ground truth for retrieval
and for the pointing game (does the peak of a rationale fall on the deciding part?).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from fgembed.demo.beetle import pose
from fgembed.demo.body import SPECIES, deciding_part
from fgembed.demo.scene import cover_edges, random_ground

__all__ = ["SPECIES", "Drawing", "DrawnImage", "draw", "draw_set"]

SUPERSAMPLING = 2
SMALLEST_SIZE = 32
# Largest distance of the centre of the shell from the centre of the image, across and down.
OFFSET = np.array([0.26, 0.18])
SHELL_Y = 0.05
JPEG_QUALITY = 92
SPLITS = ("train", "test")

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """One image and its ground truth.

    Attributes:
        image: RGB, size x size.
        part: Bool (size, size), true on the visible pixels of the deciding part.
        species: A key of `SPECIES`.
    """

    image: Image.Image
    part: NDArray[np.bool_]
    species: str


@dataclass(frozen=True)
class DrawnImage:
    """One image of a set on disk, and the mask of its deciding part."""

    image: Path
    mask: Path
    species: str
    split: str


def draw(
    species: str, rng: np.random.Generator, size: int = 128, tilt_degrees: float = 35.0
) -> Drawing:
    """Draws one beetle.

    The generator is used alike for every species: from equal states two species differ only in
    their marks.

    Args:
        species: A key of `SPECIES`.
        rng: Decides everything but the species.
        size: Side of the image in pixels.
        tilt_degrees: The body's axis leans at most this far from upright.

    Raises:
        ValueError: If the species is unknown or the size below 32.
    """
    _check_species(species)
    _check_size(size)
    side = SUPERSAMPLING * size
    turn = rng.uniform(0, 2 * np.pi)
    light = np.array([np.cos(turn), np.sin(turn)])
    view = _random_view(rng, tilt_degrees)
    image = random_ground(rng, side, light)
    beetle = _project(pose(species, rng, _sun(view, light, rng), side), view)
    _cast_shadow(image, beetle.getchannel("A"), light)
    image.paste(beetle, mask=beetle.getchannel("A"))
    veil = cover_edges(image, rng, light, _rim(view) * side)
    part = _project(Image.fromarray((deciding_part(species, size) * 255).astype(np.uint8)), view)
    hidden, image = veil.reduce(SUPERSAMPLING), image.reduce(SUPERSAMPLING)
    seen = np.asarray(ImageChops.multiply(part, ImageChops.invert(hidden)))
    return Drawing(_develop(image, rng), seen > 127, species)


def _check_species(species: str) -> None:
    if species not in SPECIES:
        raise ValueError(f"unknown species {species!r}; expected one of {', '.join(SPECIES)}")


def _check_size(size: int) -> None:
    if size < SMALLEST_SIZE:
        raise ValueError(
            f"size of {size} px is too small to show the deciding part; "
            f"use at least {SMALLEST_SIZE} px"
        )


def _random_view(rng: np.random.Generator, tilt_degrees: float) -> Matrix:
    """The homography from the beetle's frame to the image, both with a side of 1."""
    tilt = np.radians(rng.uniform(-tilt_degrees, tilt_degrees))
    scale, stretch = rng.uniform(0.75, 1.0), rng.uniform(0.95, 1.05)
    # A ring, not a disc: a body in the middle would put every mark near the centre of the image.
    bearing, offset = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0)
    centre = 0.5 + offset * OFFSET * [np.cos(bearing), np.sin(bearing)]
    cos, sin = scale * np.cos(tilt), scale * np.sin(tilt)
    position = np.array([[cos, -sin, centre[0]], [sin, cos, centre[1]], [0, 0, 1]])
    position[:2, 2] -= position[:2, 1] * SHELL_Y
    lean = np.array([[1, 0, 0], [0, 1, 0], [*rng.uniform(-0.15, 0.15, 2), 1]])
    return np.asarray(position @ np.diag([stretch, 1 / stretch, 1]) @ lean)


def _project(canvas: Image.Image, view: Matrix) -> Image.Image:
    """A canvas of the beetle's frame, projected into the image."""
    side = canvas.width
    to_frame = np.array([[1 / side, 0, -0.5], [0, 1 / side, -0.5], [0, 0, 1]])
    to_image = np.diag([1 / side, 1 / side, 1])
    back = np.linalg.inv(to_frame) @ np.linalg.inv(view) @ to_image
    coefficients = (back / back[2, 2]).ravel()[:8].tolist()
    return canvas.transform(
        canvas.size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR
    )


def _rim(view: Matrix) -> Matrix:
    """Points in the image, side 1, where clutter overlaps the legs and the edge of the body."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = np.column_stack([0.33 * np.cos(turn), 0.44 * np.sin(turn), np.ones(48)]) @ view.T
    return ring[:, :2] / ring[:, 2:]


def _sun(view: Matrix, light: Matrix, rng: np.random.Generator) -> NDArray[np.float32]:
    """The direction of the light (3,) as the beetle's frame sees it."""
    across = np.linalg.solve(view[:2, :2], light)
    sun = np.append(across / np.linalg.norm(across), rng.uniform(0.8, 1.4))
    return np.asarray(sun / np.linalg.norm(sun), np.float32)


def _cast_shadow(image: Image.Image, body: Image.Image, light: Matrix) -> None:
    side, flat = image.width, body.reduce(2)
    shade = Image.new("L", flat.size)
    for reach, blur, darkness in ((0.010, 0.008, 0.50), (0.035, 0.025, 0.45)):
        soft = flat.filter(ImageFilter.BoxBlur(blur * side / 2))
        fallen = Image.new("L", flat.size)
        across, down = (round(float(-part * reach * side / 2)) for part in light)
        fallen.paste(soft.point(lambda value, k=darkness: int(value * k)), (across, down))
        shade = ImageChops.add(shade, fallen)
    image.paste((12, 10, 16), mask=shade.resize(image.size))


def _develop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What the camera adds: focus, exposure, white balance, vignette and sensor noise."""
    size = image.width
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.55) * size / 128))
    values = np.asarray(blurred, np.float32) / 255
    steps = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    vignette = 1 - np.float32(rng.uniform(0, 0.16)) * (steps[:, None] + steps)
    contrast = rng.uniform(0.88, 1.12)
    gain = contrast * rng.uniform(0.88, 1.18) * rng.uniform(0.92, 1.08, 3)
    values *= vignette[..., None] * gain.astype(np.float32)
    values += np.float32(0.45 * (1 - contrast))
    values += np.float32(rng.uniform(0.003, 0.016)) * rng.standard_normal(values.shape, np.float32)
    return Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))


def draw_set(
    folder: Path,
    species: int = 10,
    train: int = 60,
    test: int = 20,
    size: int = 128,
    seed: int = 0,
) -> list[DrawnImage]:
    """Draws a set into `folder/{train,test}/<species>/` and `folder/masks/{train,test}/<species>/`.

    Images are JPEG, masks 8-bit PNG with 255 on the deciding part. The same arguments give the
    same pixels, and a larger set repeats the images of a smaller one.

    Args:
        folder: Made if missing; refused unless empty.
        species: How many of `SPECIES`, from the first.
        train: Images per species to train on.
        test: Images per species to test on.
        size: Side of the images in pixels.
        seed: Decides everything else.

    Returns:
        What was written, train before test, species by species.

    Raises:
        ValueError: If a count or the size is out of range.
        FileExistsError: If the folder holds anything.
    """
    _check_counts(species, train, test)
    _check_size(size)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"folder {folder} is not empty; a drawn set needs a folder of its own, "
            "choose another or empty it"
        )
    return list(_file_drawings(folder, species, (train, test), size, seed))


def _check_counts(species: int, train: int, test: int) -> None:
    if not 1 <= species <= len(SPECIES):
        raise ValueError(
            f"cannot draw {species} species; there are {len(SPECIES)}, ask for 1 to {len(SPECIES)}"
        )
    if min(train, test) < 0 or train + test == 0:
        raise ValueError(
            f"cannot draw {train} train and {test} test images per species; "
            "ask for at least one image and no negative count"
        )


def _file_drawings(
    folder: Path, species: int, counts: tuple[int, int], size: int, seed: int
) -> Iterator[DrawnImage]:
    for part, (split, count) in enumerate(zip(SPLITS, counts, strict=True)):
        for index, name in enumerate(list(SPECIES)[:species]):
            images, masks = folder / split / name, folder / "masks" / split / name
            images.mkdir(parents=True, exist_ok=True)
            masks.mkdir(parents=True, exist_ok=True)
            for number in range(1, count + 1):
                drawing = draw(name, np.random.default_rng((seed, part, index, number)), size)
                stem = f"{name}-{number:03d}"
                drawn = DrawnImage(images / f"{stem}.jpg", masks / f"{stem}.png", name, split)
                drawing.image.save(drawn.image, quality=JPEG_QUALITY)
                Image.fromarray(drawing.part).convert("L").save(drawn.mask)
                yield drawn
