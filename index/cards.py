"""What a gallery shows: cards (picture, score, heat map), each query in a row with its hits.

The layout belongs to `gallery_page` (HTML) and `contact_sheet` (PNG).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Heat = npt.NDArray[np.floating[Any]]

_HEAT_TOLERANCE = 1e-3  # half-precision models overshoot 1 by rounding
_LARGEST_ENLARGEMENT = 2.0

# Indigo, violet, magenta, orange, yellow: lightness only rises, so the order survives greyscale.
_ANCHORS = np.array(
    [
        [20, 10, 80],
        [90, 10, 150],
        [180, 0, 160],
        [245, 30, 120],
        [255, 110, 60],
        [255, 225, 30],
    ],
    dtype=np.float64,
)
_COLOURS = np.stack(
    [
        np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(_ANCHORS)), channel)
        for channel in _ANCHORS.T
    ],
    axis=-1,
)  # (256, 3) in [0, 255]


@dataclass(frozen=True, eq=False)
class Card:
    """One picture with what is known about it.

    Attributes:
        title: The file name; any string, shown through `showable`.
        image: RGB, of any size.
        heat: (h, w) in [0, 1], usually 4x4 to 14x14, spread over the whole picture.
        score: Cosine with the query; None for the query itself.
        caption: What the picture shows, such as its class folder; empty when unknown.

    Raises:
        ValueError: If the picture is not RGB, the heat map is not a finite (h, w) grid in
            [0, 1], or the score is not finite.
    """

    title: str
    image: Image.Image
    heat: Heat | None = None
    score: float | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        if self.image.mode != "RGB":
            raise ValueError(
                f"picture of {self.title!r} has mode {self.image.mode}, expected RGB; "
                'convert it with `image.convert("RGB")`'
            )
        if self.heat is not None:
            _check_heat(self.heat)
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(
                f"score of {self.title!r} is {self.score}, expected a finite cosine; "
                "check that the vectors are normalised and hold no NaN"
            )


@dataclass(frozen=True, eq=False)
class Row:
    """A query and its hits, nearest first."""

    query: Card
    hits: list[Card]


def agreement(query: Card, hit: Card) -> Literal["same", "different", ""]:
    """Whether both captions agree; empty when either caption is unknown."""
    if not query.caption or not hit.caption:
        return ""
    return "same" if query.caption == hit.caption else "different"


def score_text(card: Card) -> str:
    """The score to three decimals, never `-0.000`; empty when there is none."""
    return "" if card.score is None else f"{card.score:z.3f}"


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """The picture fitted into `side` x `side` pixels, its proportions kept.

    A small picture is enlarged at most twice: beyond that only blur is added.
    """
    scale = min(side / max(image.size), _LARGEST_ENLARGEMENT)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def heat_overlay(image: Image.Image, heat: Heat, strength: float = 0.55) -> Image.Image:
    """The RGB picture with the heat map laid over it, cold regions left as they are.

    The colour goes from indigo over magenta to yellow. Opacity is `strength` times the root of
    heat: a warm spot then keeps a violet rim, which tells it from yellow or orange things.

    Args:
        image: RGB, of any size.
        heat: (h, w) in [0, 1], spread over the whole picture by bicubic interpolation.
        strength: Opacity at heat 1, in [0, 1].

    Raises:
        ValueError: If the heat map is not a finite (h, w) grid in [0, 1].
    """
    _check_heat(heat)
    spread = _spread(heat, image.size)
    opacity = strength * np.sqrt(spread)[..., None]  # (H, W, 1)
    colour = _COLOURS[np.rint(spread * 255).astype(np.intp)]  # (H, W, 3)
    blended = (1 - opacity) * np.asarray(image, dtype=np.float64) + opacity * colour
    return Image.fromarray(np.rint(blended).astype(np.uint8))


def _spread(heat: Heat, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The heat map at (width, height) `size`, as (height, width)."""
    coarse = Image.fromarray(np.asarray(heat, dtype=np.float32))
    # Bicubic interpolation overshoots beside a peak.
    return np.clip(np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float64), 0, 1)


def _check_heat(heat: Heat) -> None:
    if heat.ndim != 2 or heat.size == 0:
        raise ValueError(f"heat map of shape {heat.shape}, expected (h, w); pass one map a picture")
    low, high = float(heat.min()), float(heat.max())
    if not (-_HEAT_TOLERANCE <= low and high <= 1 + _HEAT_TOLERANCE):
        raise ValueError(
            f"heat map reaches from {low:.3g} to {high:.3g}, expected [0, 1]; "
            "subtract its minimum and divide by its maximum"
        )
