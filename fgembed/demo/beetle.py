"""One living beetle in its own frame: a coat of random colours, lit, on legs in a random pose."""

import colorsys
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fgembed.demo.body import Field, mark, relief

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
PUREST = 0.62
PALE_INKS = ((1.0, 0.95, 0.80), (1.0, 0.87, 0.50), (1.0, 0.80, 0.58), (0.88, 0.97, 0.86))


class Coat(NamedTuple):
    """The colours of one animal, RGB in 0 to 1; none of them tells its species."""

    wing: Field
    sheen: Field
    collar: Field
    ink: Field


def _colour(hue: float, saturation: float, luminance: float) -> Field:
    """A hue at a given luma; it pales where the screen has no colour so bright and so pure."""
    pure = np.array(colorsys.hsv_to_rgb(hue % 1, saturation, 1), np.float32)
    rgb = pure * np.float32(luminance / (pure @ LUMA))
    excess = max(float(rgb.max()) - PUREST, 0) / (float(rgb.max()) - luminance + 1e-6)
    return rgb + np.float32(excess) * (luminance - rgb)


def _random_coat(rng: np.random.Generator) -> Coat:
    """Colours from the whole wheel, dark enough that pale ink shows even in grayscale."""
    hue, shift = rng.random(), rng.uniform(-0.14, 0.14)
    luminance, saturation = rng.uniform(0.13, 0.27), rng.uniform(0.45, 0.85)
    wing = _colour(hue, saturation, luminance)
    sheen = _colour(hue + shift, saturation, luminance * 1.5)
    collar = _colour(hue + shift * rng.random(), saturation, luminance * rng.uniform(0.6, 1.0))
    ink = np.array(PALE_INKS[rng.integers(len(PALE_INKS))], np.float32)
    return Coat(wing, sheen, collar, ink * np.float32(rng.uniform(0.86, 1.0)))


def _mix(low: Field | np.float32, high: Field | np.float32, share: Field) -> Field:
    return low + share * (high - low)


def _paint(species: str, coat: Coat, light: Field, gloss: float, side: int) -> Image.Image:
    """The window of the body, without limbs, lit from direction `light` (3,)."""
    body, pigment = relief(side), mark(species, side)
    normal, tone, cover, collar = (plane[body.window] for plane in body[:4])
    halfway = light + np.array([0, 0, 1], np.float32)
    broad = np.maximum(normal @ (halfway / np.linalg.norm(halfway)), 0) ** 2
    for _ in range(2):
        broad *= broad
    tight = np.square(np.square(np.square(broad)))
    shade = tone * (0.45 + 0.85 * np.maximum(normal @ light, 0))
    shade *= 1 - 0.45 * (pigment.halo - pigment.ink)[body.window]
    shine = np.float32(gloss) * (0.15 * broad + 0.7 * tight)
    planes = []
    for wing, sheen, neck, ink in zip(*coat, strict=True):
        shell = _mix(_mix(wing, neck, collar), sheen, 1 - normal[..., 2])
        planes.append(_mix(shell, ink, pigment.ink[body.window]) * shade + shine)
    return Image.fromarray((255 * np.minimum(np.dstack([*planes, cover]), 1)).astype(np.uint8))


class Limb(NamedTuple):
    """A leg or antenna: where it leaves the body, then each segment's angle, length and width."""

    root: tuple[float, float]
    degrees: tuple[float, ...]
    lengths: tuple[float, ...]
    widths: tuple[float, ...]


LIMBS = (
    Limb((0.13, -0.19), (-30, -62, -85), (0.12, 0.10, 0.06), (0.034, 0.026, 0.013)),
    Limb((0.18, -0.02), (-8, 28, 50), (0.12, 0.11, 0.07), (0.034, 0.026, 0.013)),
    Limb((0.17, 0.14), (22, 68, 84), (0.13, 0.12, 0.08), (0.036, 0.026, 0.013)),
    Limb((0.05, -0.34), (-58, -28, -8), (0.06, 0.05, 0.035), (0.013, 0.012, 0.034)),
)


def _pose_limbs(coat: Coat, rng: np.random.Generator, side: int) -> Image.Image:
    """Legs and antennae in a random pose on a transparent canvas."""
    tint = coat.collar * 0.45 + 0.02
    dark, pale = ((*(int(255 * c) for c in tint * k), 255) for k in (1.0, 2.6))
    canvas = Image.new("RGBA", (side, side), (*dark[:3], 0))
    pen = ImageDraw.Draw(canvas)
    for limb in LIMBS:
        for mirror in (-1, 1):
            swing = rng.uniform(-14, 14) + rng.uniform(-9, 9, len(limb.degrees))
            turns = np.radians(np.array(limb.degrees) + swing)
            steps = np.array(limb.lengths) * [np.cos(turns), np.sin(turns)]
            joints = np.cumsum(np.column_stack([limb.root, steps]), axis=1).T * (mirror, 1)
            _draw_limb(pen, (joints + 0.5) * side, np.array(limb.widths) * side, dark, pale)
    return canvas


def _draw_limb(
    pen: ImageDraw.ImageDraw,
    joints: NDArray[np.float64],
    widths: NDArray[np.float64],
    dark: tuple[int, ...],
    pale: tuple[int, ...],
) -> None:
    for start, end, width in zip(joints[:-1], joints[1:], widths, strict=True):
        pen.line([*start, *end], dark, max(1, round(width)))
        for joint in (start, end):
            pen.ellipse([*(joint - width / 2), *(joint + width / 2)], dark)
    for start, end, width in zip(joints[:-1], joints[1:], widths, strict=True):
        lift = np.array([0, -width / 5])
        pen.line([*(start + lift), *(end + lift)], pale, max(1, round(width / 4)))


def pose(species: str, rng: np.random.Generator, light: Field, side: int) -> Image.Image:
    """One animal on a transparent canvas, lit from direction `light` (3,).

    Coat, gloss and pose come from the generator, the mark from the species alone.
    """
    coat, gloss = _random_coat(rng), rng.uniform(0.35, 1.0)
    canvas = _pose_limbs(coat, rng, side)
    rows, columns = relief(side).window
    canvas.alpha_composite(_paint(species, coat, light, gloss, side), (columns.start, rows.start))
    return canvas
