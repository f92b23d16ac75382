"""The surroundings of a drawn beetle: grounds, and clutter below and above it.

They depend on the generator alone, never on the species. Canvases are square, in pixels; sizes
and positions are shares of the side of the canvas.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane = NDArray[np.float32]
Points = NDArray[np.float64]
Colour = tuple[float, float, float]

LEAF_COLOURS: tuple[Colour, ...] = (
    (0.55, 0.32, 0.13), (0.66, 0.45, 0.18), (0.45, 0.47, 0.20),
    (0.36, 0.25, 0.15), (0.62, 0.27, 0.14), (0.30, 0.42, 0.22),
)  # fmt: skip
DYES: tuple[Colour, ...] = (
    (0.45, 0.56, 0.70), (0.78, 0.70, 0.58), (0.72, 0.42, 0.36), (0.46, 0.60, 0.46),
)  # fmt: skip
STONE_COLOURS: tuple[Colour, ...] = (
    (0.60, 0.57, 0.52), (0.44, 0.44, 0.46), (0.70, 0.62, 0.50), (0.50, 0.41, 0.36),
)  # fmt: skip


def _clouds(rng: np.random.Generator, side: int, rows: int, columns: int) -> Plane:
    """Smooth noise, 0 to 1, with `rows` x `columns` cells over the canvas."""
    cells = Image.fromarray(rng.random((rows, columns), np.float32))
    return np.asarray(cells.resize((side, side), Image.Resampling.BICUBIC))


def _grain(rng: np.random.Generator, side: int) -> Plane:
    return rng.random((side, side), np.float32)


def _tint(level: Plane, dark: Colour, pale: Colour) -> Plane:
    """Colours from `dark` (level 0) to `pale` (level 1), (N, N, 3)."""
    low, high = np.array(dark, np.float32), np.array(pale, np.float32)
    return low + level[..., None] * (high - low)


def _bark(rng: np.random.Generator, side: int) -> Plane:
    cells = int(rng.integers(9, 15))
    ridges = np.abs(_clouds(rng, side, 4, cells) + 0.5 * _clouds(rng, side, 9, 2 * cells) - 0.75)
    fibre = _clouds(rng, side, 16, 64)
    level = np.clip(1.9 * ridges, 0, 0.75) + 0.3 * fibre + 0.12 * _grain(rng, side)
    warmth = rng.uniform(0, 0.06)
    return _tint(level, (0.15, 0.11, 0.09), (0.58 + warmth, 0.49, 0.42 - warmth))


def _sand(rng: np.random.Generator, side: int) -> Plane:
    grain = _grain(rng, side)
    level = 0.35 + 0.35 * _clouds(rng, side, 5, 5) + 0.3 * grain + 0.15 * _clouds(rng, side, 40, 40)
    level -= 0.45 * (grain > 0.985)
    return _tint(level, (0.52, 0.43, 0.31), (0.93, 0.85, 0.70))


def _fabric(rng: np.random.Generator, side: int) -> Plane:
    """Plain weave in one dye, half of the time with pale checks."""
    threads, dye = int(rng.integers(16, 24)), DYES[rng.integers(len(DYES))]
    steps = np.arange(side, dtype=np.float32) / side
    warp = np.sin(threads * np.pi * (steps + 0.02 * _clouds(rng, side, 5, 3)))
    weft = np.sin(threads * np.pi * (steps[:, None] + 0.02 * _clouds(rng, side, 3, 5)))
    high, low = np.maximum(np.abs(warp), np.abs(weft)), np.minimum(np.abs(warp), np.abs(weft))
    level = np.where(warp * weft > 0, high, 0.85 * high) * (0.72 + 0.28 * low)
    level = level * 0.75 + 0.25 * _clouds(rng, side, 4, 4) + 0.12 * _grain(rng, side) - 0.1
    checks, phase, depth = int(rng.integers(3, 6)), rng.random((2, 1)), rng.choice((0.0, 0.3))
    across, along = (steps * checks + phase) % 1 < 0.5
    pale = (depth * np.add.outer(along, across, dtype=np.float32)).astype(np.float32)
    cloth = _tint(pale, dye, (0.95, 0.93, 0.88))
    return np.asarray(cloth * (0.35 + 0.75 * level[..., None]), np.float32)


def _paper(rng: np.random.Generator, side: int) -> Plane:
    level = 0.62 + 0.22 * _clouds(rng, side, 3, 3) + 0.10 * _clouds(rng, side, 48, 24)
    level += 0.06 * _grain(rng, side)
    rules, phase = int(rng.integers(7, 12)), rng.random()
    steps = (np.arange(side) / side * rules + phase) % 1 * side / rules < 1
    page = _tint(level, (0.70, 0.64, 0.53), (0.97, 0.94, 0.86))
    ruled = steps[:, None] | (steps[None, :] & bool(rng.random() < 0.5))
    return page * np.where(ruled[..., None], np.array([0.80, 0.87, 0.90], np.float32), 1)


def _moss(rng: np.random.Generator, side: int) -> Plane:
    tufts = _clouds(rng, side, 14, 14) * 0.5 + _clouds(rng, side, 44, 44) * 0.6
    level = np.clip(tufts + 0.25 * _grain(rng, side) - 0.2, 0, 1)
    return _tint(level, (0.10, 0.15, 0.07), (0.52, 0.60, 0.26))


def _soil(rng: np.random.Generator, side: int) -> Plane:
    level = 0.5 * _clouds(rng, side, 8, 8) + 0.4 * _clouds(rng, side, 36, 36)
    return _tint(level + 0.2 * _grain(rng, side), (0.13, 0.10, 0.08), (0.50, 0.41, 0.33))


GROUNDS: tuple[Callable[[np.random.Generator, int], Plane], ...] = (
    _bark, _sand, _fabric, _paper, _moss, _soil,
)  # fmt: skip


class Piece(NamedTuple):
    """A piece of clutter: an outline around the origin, then shapes upon it, first to last."""

    outline: Points
    layers: list[tuple[Points, Colour, float]]  # points, colour, opacity


def _shaded(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(channel * factor, 1.0) for channel in colour)
    return red, green, blue


def _leaf(rng: np.random.Generator, light: Points) -> Piece:
    along = np.linspace(-1, 1, 15)
    breadth = rng.uniform(0.30, 0.52) * (1 - along**2) ** 0.8 * (1 - 0.35 * along)
    breadth *= 1 + rng.uniform(-0.08, 0.08, 15)
    upper, lower = np.column_stack([along, -breadth]), np.column_stack([along, breadth])
    outline = np.vstack([upper, lower[::-1]])
    spine = np.array([[-1.25, -0.03], [1, -0.008], [1, 0.008], [-1.25, 0.03]])
    colour = LEAF_COLOURS[rng.integers(len(LEAF_COLOURS))]
    layers = [(outline, colour, 1.0), (np.vstack([upper, spine[1:2]]), _shaded(colour, 1.22), 1.0)]
    for k in range(2, 13, 2):
        for edge in (upper, lower):
            vein = np.vstack([[along[k] - 0.12, 0], edge[k] * (1, 0.9), edge[k] * (1, 0.84)])
            layers.append((vein, _shaded(colour, 0.72), 0.8))
    return Piece(outline, [*layers, (spine, _shaded(colour, 0.6), 1.0)])


def _pebble(rng: np.random.Generator, light: Points) -> Piece:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 0.62 + 0.06 * np.cos(2 * turn + rng.uniform(0, 6)) + 0.04 * np.cos(3 * turn)
    outline = np.column_stack([np.cos(turn), rng.uniform(0.7, 1.0) * np.sin(turn)])
    outline *= radius[:, None]
    colour = STONE_COLOURS[rng.integers(len(STONE_COLOURS))]
    layers = [(outline, _shaded(colour, 0.62), 1.0)]
    for step in range(1, 7):
        rise = outline * (1 - 0.13 * step) + 0.022 * step * light
        layers.append((rise, _shaded(colour, 0.62 + 0.11 * step), 0.5))
    return Piece(outline, layers)


def _twig(rng: np.random.Generator, light: Points) -> Piece:
    along = np.linspace(-1.6, 1.6, 9)
    bend = np.cumsum(rng.uniform(-0.07, 0.07, 9))
    breadth = np.linspace(0.10, 0.05, 9) * (1 + rng.uniform(-0.15, 0.15, 9))
    upper = np.column_stack([along, bend - breadth])
    lower = np.column_stack([along, bend + breadth])
    outline, middle = np.vstack([upper, lower[::-1]]), (upper + lower) / 2
    colour = _shaded(LEAF_COLOURS[3], rng.uniform(0.8, 1.6))
    shine = np.vstack([upper * 0.6 + middle * 0.4, middle[::-1]])
    return Piece(outline, [(outline, colour, 1.0), (shine, _shaded(colour, 1.5), 0.7)])


PIECES: tuple[Callable[[np.random.Generator, Points], Piece], ...] = (_leaf, _leaf, _pebble, _twig)


def _lay(
    pen: ImageDraw.ImageDraw,
    piece: Piece,
    position: Points,
    turn: float,
    size: float,
    light: Points,
) -> Points:
    """Draws a piece and its shadow, and gives its outline in canvas pixels."""
    cos, sin = np.cos(turn), np.sin(turn)
    spin = np.array([[cos, sin], [-sin, cos]]) * size
    outline: Points = piece.outline @ spin + position
    for reach in (0.16, 0.10, 0.05):
        pen.polygon((outline - reach * size * light).ravel().tolist(), (10, 8, 12, 42))
    for points, colour, opacity in piece.layers:
        ink = (*(int(255 * channel) for channel in colour), int(255 * opacity))
        pen.polygon((points @ spin + position).ravel().tolist(), ink)
    return outline


def random_ground(rng: np.random.Generator, side: int, light: Points) -> Image.Image:
    """A ground with a few loose pieces on it, or a litter of many leaves.

    Its texture has half the resolution of the canvas, that of the final image.
    """
    kind = int(rng.integers(len(GROUNDS) + 1))
    ground = GROUNDS[min(kind, len(GROUNDS) - 1)](rng, side // 2)
    canvas = Image.fromarray((np.clip(ground, 0, 1) * 255).astype(np.uint8))
    canvas = canvas.resize((side, side), Image.Resampling.BILINEAR)
    litter = kind == len(GROUNDS)
    pen = ImageDraw.Draw(canvas, "RGBA")
    for _ in range(26 if litter else int(rng.integers(2, 7))):
        make = _leaf if litter else PIECES[rng.integers(len(PIECES))]
        size = side * rng.uniform(0.10, 0.20) * (1 if litter else 0.6)
        position, turn = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        _lay(pen, make(rng, light), position, turn, size, light)
    return canvas


def cover_edges(
    canvas: Image.Image, rng: np.random.Generator, light: Points, rim: Points
) -> Image.Image:
    """Lays up to three pieces over the legs and edge of a body; returns the mask of what they hide.

    Args:
        canvas: The image to draw on, in place.
        rng: Decides which pieces, and where.
        light: Unit vector towards the light in the image plane.
        rim: Points around the body, in canvas pixels, where pieces may be centred.

    Returns:
        An `L` canvas, 255 where a piece lies.
    """
    side = canvas.width
    veil = Image.new("L", canvas.size)
    for _ in range(int(rng.integers(0, 4))):
        piece, position = PIECES[rng.integers(len(PIECES))](rng, light), rim[rng.integers(len(rim))]
        turn, size = rng.uniform(0, 2 * np.pi), side * rng.uniform(0.06, 0.10)
        outline = _lay(ImageDraw.Draw(canvas, "RGBA"), piece, position, turn, size, light)
        ImageDraw.Draw(veil).polygon(outline.ravel().tolist(), 255)
    return veil
