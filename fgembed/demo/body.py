"""The shape of the body that all species share, and of the marks by which they differ.

The frame has its origin at the body's centre, x to the right and y towards the tail. Its unit is
the side of the image at scale 1, and a canvas shows -0.5 to 0.5 both ways. Shapes are signed
distances (negative inside), so that outlines grow and blend exactly. Nothing here knows of
colours or images. What is cached is computed from its arguments alone and read-only.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Shape = Callable[[Field, Field], Field]

MASK_MARGIN = 0.025
RIM = 0.012
HALO = 0.011


def _disc(x: float, y: float, radius: float) -> Shape:
    return lambda across, along: np.hypot(across - x, along - y) - np.float32(radius)


def _ring(y: float, radius: float, half_width: float) -> Shape:
    circle = _disc(0.0, y, radius)
    return lambda across, along: np.abs(circle(across, along)) - np.float32(half_width)


def _stroke(start: tuple[float, float], end: tuple[float, float], half_width: float) -> Shape:
    (x, y), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])

    def distance(across: Field, along: Field) -> Field:
        share = ((across - x) * dx + (along - y) * dy) / (dx * dx + dy * dy)
        share = np.clip(share, 0, 1)
        gap = np.hypot(across - x - share * dx, along - y - share * dy)
        return gap - np.float32(half_width)

    return distance


def _join(first: Shape, second: Shape) -> Shape:
    return lambda across, along: np.minimum(first(across, along), second(across, along))


def _cut(shape: Shape, bite: Shape) -> Shape:
    return lambda across, along: np.maximum(shape(across, along), -bite(across, along))


class Mark(NamedTuple):
    """Where a species bears its mark, and the mark's shape over (distance from the axis, y).

    Shapes see the distance from the body's axis, not x, so that every mark is its own mirror
    image and a flipped image still shows its species.
    """

    seat: str
    shape: Shape


SPECIES: dict[str, Mark] = {
    "gemina-collaris": Mark("pronotum", _disc(0.090, -0.212, 0.056)),
    "cincta-mediana": Mark("elytra", _stroke((0, 0.095), (0.3, 0.095), 0.036)),
    "gemina-humeralis": Mark("elytra", _disc(0.120, -0.025, 0.066)),
    "lunata-apicalis": Mark("elytra", _cut(_disc(0, 0.205, 0.115), _disc(0, 0.140, 0.095))),
    "annulata-mediana": Mark("elytra", _ring(0.090, 0.088, 0.027)),
    "cincta-collaris": Mark("pronotum", _stroke((0, -0.212), (0.3, -0.212), 0.034)),
    "gemina-apicalis": Mark("elytra", _disc(0.085, 0.225, 0.062)),
    "sagittata-mediana": Mark("elytra", _stroke((0, 0.165), (0.165, 0.025), 0.031)),
    "cincta-humeralis": Mark("elytra", _stroke((0, -0.035), (0.3, -0.035), 0.036)),
    "vittata-mediana": Mark("elytra", _stroke((0.090, 0.01), (0.090, 0.19), 0.029)),
    "gemina-mediana": Mark("elytra", _disc(0.110, 0.100, 0.066)),
    "hastata-apicalis": Mark("elytra", _stroke((0, 0.14), (0.14, 0.25), 0.031)),
    "quadrata-mediana": Mark(
        "elytra", _join(_disc(0.060, 0.045, 0.043), _disc(0.120, 0.150, 0.043))
    ),
}


class Dome(NamedTuple):
    """A body part: a rounded hump, fuller or flatter towards its front and its rear."""

    y: float
    half_width: float
    front: float
    rear: float
    power: float
    flare: float
    height: float


BODY: dict[str, Dome] = {
    "head": Dome(-0.310, 0.100, 0.068, 0.080, 2.2, 0.0, 0.06),
    "elytra": Dome(0.065, 0.238, 0.205, 0.295, 2.5, 0.0, 0.16),
    "pronotum": Dome(-0.205, 0.196, 0.105, 0.100, 2.5, 0.45, 0.09),
}


class Relief(NamedTuple):
    """The body all species share, seen from above.

    `window` is the smallest part of the canvas, rows and columns, that holds it.
    """

    normal: Field  # (N, N, 3)
    tone: Field  # (N, N), 1 where the shell is plain, less in grooves and seams
    cover: Field  # (N, N), 1 on the body
    collar: Field  # (N, N), 1 on pronotum and head
    window: tuple[slice, slice]


class Pigment(NamedTuple):
    """A species' mark as coverage (N, N), each 0 to 1."""

    ink: Field
    halo: Field  # the ink and a darker band around it


@cache
def frame(side: int) -> tuple[Field, Field]:
    """The frame's x and y at each pixel of a canvas of `side` pixels."""
    steps = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    x, y = np.meshgrid(steps, steps)
    _seal(x, y)
    return x, y


@cache
def _hump(name: str, side: int) -> tuple[Field, Field]:
    """A body part's signed distance and height above the ground."""
    x, y = frame(side)
    dome = BODY[name]
    along = y - np.float32(dome.y)
    half_width = dome.half_width + dome.flare * along
    length = np.where(along < 0, dome.front, dome.rear)
    across = np.abs(x) / np.maximum(half_width, 0.02)
    level = across**dome.power + np.abs(along / length) ** dome.power
    slope = np.hypot(*np.gradient(level, 1 / side)) + 1e-3
    height = dome.height * np.sqrt(np.maximum(1 - level, 0))
    return ((level - 1) / slope).astype(np.float32), height.astype(np.float32)


def _fill(distance: Field, side: int) -> Field:
    """Coverage of each pixel, 0 to 1, by the inside of a shape."""
    return np.asarray(np.clip(0.5 - distance * side, 0, 1), np.float32)


@cache
def _grooves(side: int) -> Field:
    """How the shell's striae, pits, suture and scutellum darken the elytra."""
    x, y = frame(side)
    dome = BODY["elytra"]
    along = (y - dome.y) / np.where(y < dome.y, dome.front, dome.rear)
    width = dome.half_width * np.maximum(1 - np.abs(along) ** dome.power, 0.01) ** 0.4
    striae = np.maximum(np.cos(11 * np.pi * np.abs(x) / width + np.pi), 0) ** 4
    pits = 0.6 + 0.4 * np.cos(2 * np.pi * 36 * y)
    suture = np.exp(-((x / 0.006) ** 2))
    scutellum = 0.62 * (-0.048 - y) - np.abs(x)
    suture = np.where(scutellum > 0, 0, np.maximum(suture, np.exp(-((scutellum / 0.006) ** 2))))
    striae *= 0.30 * pits * (scutellum < 0)
    return np.asarray((1 - striae) * (1 - 0.75 * suture), np.float32)


def _eyes(side: int) -> Field:
    x, y = frame(side)
    eyes = _fill(_disc(0.078, -0.322, 0.024)(np.abs(x), y), side)
    return np.asarray(1 - 0.8 * eyes, np.float32)


def _seal(*planes: Field) -> None:
    """Forbids writing to what a cache will hand out again."""
    for plane in planes:
        plane.flags.writeable = False


@cache
def relief(side: int) -> Relief:
    """The body's surface: pronotum over elytra over head, each with a dark seam around it."""
    normal = np.zeros((side, side, 3), np.float32)
    tone, cover, collar = (np.zeros((side, side), np.float32) for _ in range(3))
    details = {"elytra": _grooves(side), "head": _eyes(side)}
    for name in BODY:
        distance, height = _hump(name, side)
        share = _fill(distance, side)
        fall, drift = np.gradient(height, 1 / side)
        facing = np.dstack([-drift, -fall, np.ones_like(fall)])
        facing /= np.linalg.norm(facing, axis=2, keepdims=True)
        seam = 1 - 0.65 * np.exp(np.minimum(distance, 0) / 0.012)
        shell = seam * details.get(name, 1)
        normal += share[..., None] * (facing - normal)
        tone += share * (shell - tone)
        collar += share * (float(name != "elytra") - collar)
        cover = np.maximum(cover, share)
    rows, columns = (np.flatnonzero(cover.any(axis)) for axis in (1, 0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    _seal(normal, tone, cover, collar)
    return Relief(normal, tone, cover, collar, window)


@cache
def mark(species: str, side: int) -> Pigment:
    """The mark of a species on a canvas of `side` pixels."""
    x, y = frame(side)
    seat, shape = SPECIES[species]
    home = _hump(seat, side)[0] + np.float32(RIM)
    if seat == "elytra":
        home = np.maximum(home, RIM - _hump("pronotum", side)[0])
    uneven = 0.004 * np.sin(44 * np.abs(x) + 1) * np.sin(38 * y)
    distance = np.maximum(shape(np.abs(x), y) + uneven, home).astype(np.float32)
    cover = relief(side).cover
    ink, halo = (_fill(distance - np.float32(growth), side) * cover for growth in (0, HALO))
    _seal(ink, halo)
    return Pigment(ink, halo)


@cache
def deciding_part(species: str, side: int) -> Field:
    """Coverage (N, N) by the ink and `MASK_MARGIN` of body around it, as an annotator outlines."""
    ink, reach = mark(species, side).ink, MASK_MARGIN * side
    steps = np.arange(-int(reach), int(reach) + 1)
    part = np.zeros_like(ink)
    for down in steps:
        for across in steps[np.hypot(steps, down) <= reach]:
            part = np.maximum(part, np.roll(ink, (down, across), (0, 1)))
    part *= relief(side).cover
    _seal(part)
    return part
