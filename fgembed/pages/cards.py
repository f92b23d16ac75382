"""What a results page shows: cards (image, score, heat map), each query in a row with its hits.

The layout belongs to `html_page` (HTML) and `contact_sheet` (PNG).
"""

import math
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from fgembed.pages.heat_maps import Heat, check_heat

_LARGEST_ENLARGEMENT = 2.0


@dataclass(frozen=True, eq=False)
class Card:
    """An image with its title, score, caption and heat map.

    Attributes:
        title: The file name; any string, shown through `showable`.
        image: RGB, of any size.
        heat: (h, w) in [0, 1], usually 4x4 to 14x14, resized to the image.
        score: Cosine with the query; None for the query itself.
        caption: What the image shows, such as its class folder; empty when unknown.

    Raises:
        ValueError: If the image is not RGB, the heat map is not a finite (h, w) grid in [0, 1],
            or the score is not finite.

    Example:
        >>> card = Card("kiwi.jpg", Image.new("RGB", (640, 480)), score=0.91234)
        >>> score_text(card)
        '0.912'
        >>> thumbnail(card.image, 200).size
        (200, 150)
    """

    title: str
    image: Image.Image
    heat: Heat | None = None
    score: float | None = None
    caption: str = ""

    def __post_init__(self) -> None:
        if self.image.mode != "RGB":
            raise ValueError(
                f"image {self.title!r} has mode {self.image.mode}, expected RGB; "
                'convert it with `image.convert("RGB")`'
            )
        if self.heat is not None:
            check_heat(self.heat)
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(
                f"score of {self.title!r} is {self.score}, expected a finite cosine; "
                "check that the vectors are normalised and hold no NaN"
            )


@dataclass(frozen=True, eq=False)
class ResultRow:
    """A query and its hits, nearest first."""

    query: Card
    hits: list[Card]


def placeholder(text: str, side: int = 400) -> Image.Image:
    """A grey square with a word in it, for an image that cannot be shown."""
    image = Image.new("RGB", (side, side), (200, 198, 194))
    font = ImageFont.load_default(size=side / 12)
    pen = ImageDraw.Draw(image)
    pen.text((side / 2, side / 2), text, fill=(60, 58, 54), font=font, anchor="mm")
    return image


def agreement(query: Card, hit: Card) -> Literal["same", "different", ""]:
    """Whether both captions agree; empty when either caption is unknown."""
    if not query.caption or not hit.caption:
        return ""
    return "same" if query.caption == hit.caption else "different"


def score_text(card: Card) -> str:
    """The score to three decimals, never `-0.000`; empty when there is none."""
    return "" if card.score is None else f"{card.score:z.3f}"


def thumbnail(image: Image.Image, side: int) -> Image.Image:
    """The image resized to fit `side` x `side` pixels, with its aspect ratio.

    A small image is enlarged at most twice: more adds only blur.
    """
    scale = min(side / max(image.size), _LARGEST_ENLARGEMENT)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
