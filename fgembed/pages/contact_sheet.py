"""A search result as one PNG image: each query on the left, its hits on the right."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from fgembed.disk.outputs import SOFTWARE, Output, is_our_png
from fgembed.errors import FgembedError
from fgembed.pages.cards import Card, ResultRow, agreement, score_text, thumbnail
from fgembed.pages.heat_maps import heat_overlay
from fgembed.text import drawable

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Lengths in pixels.
THUMBNAIL = 200
MARGIN = 32
GAP = 20
QUERY_GAP = 44
ROW_GAP = 36
TEXT_GAP = 10
LINE = 19
TEXT_SIZE = 14
BORDER = 3
HITS_PER_LINE = 10
# Pillow warns of a decompression bomb when it opens more than 89 million pixels.
MAX_PIXELS = 80_000_000

TYPEFACES = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
NO_LETTER = "\U0010fffd"  # of private use

BACKGROUND = (251, 250, 248)
TEXT_COLOUR = (29, 28, 26)
MUTED_COLOUR = (106, 103, 98)


@dataclass(frozen=True)
class _Line:
    """One line of images: up to `HITS_PER_LINE` hits, the query beside the first ones."""

    row: ResultRow
    start: int
    heat: bool

    @property
    def hits(self) -> list[Card]:
        return self.row.hits[self.start : self.start + HITS_PER_LINE]

    @property
    def height(self) -> int:
        heat_map = GAP + THUMBNAIL if self.heat else 0
        return THUMBNAIL + heat_map + TEXT_GAP + 3 * LINE


def write_png(file: Path, rows: Sequence[ResultRow], heat: bool = False) -> None:
    """Write the sheet, replacing `file` only once it is complete.

    Names are drawn in the first of `TYPEFACES` that there is, or else in Pillow's own, which has
    the letters of ASCII. Letters that it lacks are escaped.

    Args:
        file: Where the image goes; missing folders are made.
        rows: One or more queries with their hits, nearest first.
        heat: Whether a second line of thumbnails shows the heat maps.

    Raises:
        ValueError: If there are no rows.
        FgembedError: If the sheet would be too large for image viewers, or `file` has another
            ending, or is there and no such sheet.
    """
    if not rows:
        # invariant: a search has a query
        raise ValueError("no rows to show, expected at least one; pass a row for each query")
    lines = [line for row in rows for line in _lines(row, heat)]
    sheet = _empty_sheet(lines)
    top = MARGIN
    for line in lines:
        _draw_line(sheet, line, top)
        top += line.height + ROW_GAP
    mark = PngInfo()
    for name, value in SOFTWARE.items():
        mark.add_text(name, value)
    with CONTACT_SHEET.write(file) as target:
        sheet.save(target, "PNG", pnginfo=mark)


def _is_ours(file: Path) -> bool:
    return is_our_png(file) or _is_unmarked(file)


def _is_unmarked(file: Path) -> bool:
    """Whether a file is a sheet of fgembed 0.1, which had no mark: its width and upper margin."""
    try:
        with Image.open(file, formats=["PNG"]) as image:
            width, height = image.size
            columns, rest = divmod(width + GAP - MARGIN - _hit_left(0), THUMBNAIL + GAP)
            is_wide = rest == 0 and 0 <= columns <= HITS_PER_LINE
            if image.mode != "RGB" or not is_wide or not MARGIN < height * width <= MAX_PIXELS:
                return False
            margin = image.crop((0, 0, width, MARGIN))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return margin.getcolors(1) == [(width * MARGIN, BACKGROUND)]


CONTACT_SHEET = Output("a contact sheet", (".png",), _is_ours)


def _lines(row: ResultRow, heat: bool) -> Iterator[_Line]:
    for start in range(0, max(1, len(row.hits)), HITS_PER_LINE):
        yield _Line(row, start, heat)


def _hit_left(column: int) -> int:
    return MARGIN + THUMBNAIL + QUERY_GAP + column * (THUMBNAIL + GAP)


def _empty_sheet(lines: Sequence[_Line]) -> Image.Image:
    width = _hit_left(max(len(line.hits) for line in lines)) - GAP + MARGIN
    height = 2 * MARGIN - ROW_GAP + sum(line.height + ROW_GAP for line in lines)
    if width * height > MAX_PIXELS:
        raise FgembedError(
            f"the sheet would be {width} x {height} pixels, more than the {MAX_PIXELS:,} that "
            "image viewers open",
            "show fewer hits, or write an HTML page instead",
        )
    return Image.new("RGB", (width, height), BACKGROUND)


def _draw_line(sheet: Image.Image, line: _Line, top: int) -> None:
    if line.start == 0:
        _draw_card(sheet, line.row.query, (MARGIN, top), "query", line.heat)
        _draw_border(sheet, line.row.query, (MARGIN, top))
    for column, hit in enumerate(line.hits):
        mark = agreement(line.row.query, hit)
        heading = f"{line.start + column + 1}   {score_text(hit)}   {mark}"
        _draw_card(sheet, hit, (_hit_left(column), top), heading.rstrip(), line.heat)


def _draw_card(
    sheet: Image.Image, card: Card, corner: tuple[int, int], heading: str, heat: bool
) -> None:
    """Draw the image, its heat map under it and three lines of text, from the top left corner."""
    left, top = corner
    small = thumbnail(card.image, THUMBNAIL)
    _paste(sheet, small, left, top)
    if heat:
        top += THUMBNAIL + GAP
        if card.heat is not None:
            _paste(sheet, heat_overlay(small, card.heat), left, top)
    top += THUMBNAIL + TEXT_GAP
    draw, font = ImageDraw.Draw(sheet), _font()
    texts = (heading, TEXT_COLOUR), (card.caption, TEXT_COLOUR), (card.title, MUTED_COLOUR)
    for number, (text, colour) in enumerate((text, colour) for text, colour in texts if text):
        draw.text((left, top + number * LINE), _shortened(text, font), fill=colour, font=font)


def _paste(sheet: Image.Image, small: Image.Image, left: int, top: int) -> None:
    """Place a thumbnail at the bottom left of its square: all of a line share one baseline."""
    sheet.paste(small, (left, top + THUMBNAIL - small.height))


def _draw_border(sheet: Image.Image, query: Card, corner: tuple[int, int]) -> None:
    left, top = corner
    width, height = thumbnail(query.image, THUMBNAIL).size
    outside = (
        left - BORDER,
        top + THUMBNAIL - height - BORDER,
        left + width + BORDER - 1,
        top + THUMBNAIL + BORDER - 1,
    )
    ImageDraw.Draw(sheet).rectangle(outside, outline=TEXT_COLOUR, width=BORDER)


@cache
def _font() -> Font:
    library = find_spec("matplotlib")
    folders = library.submodule_search_locations or [] if library else []
    shipped = [str(Path(folder, "mpl-data/fonts/ttf", TYPEFACES[0])) for folder in folders]
    for name in (*shipped, *TYPEFACES):  # Pillow looks for names where the system has typefaces
        with suppress(OSError, ImportError):
            return ImageFont.truetype(name, TEXT_SIZE)
    return ImageFont.load_default(size=TEXT_SIZE)


@cache
def _has_glyph(letter: str) -> bool:
    """Whether the typeface has a letter: those that it lacks are drawn as one and the same box."""
    try:
        mask, box = (_font().getmask(text) for text in (letter, NO_LETTER))
    except UnicodeError:  # of the typeface without outlines
        return False
    return letter.isspace() or (mask.size, bytes(mask)) != (box.size, bytes(box))


def _shortened(text: str, font: Font) -> str:
    """The text cut in the middle to the width of a thumbnail, because names differ at the ends."""
    text = drawable(text, _has_glyph)
    if font.getlength(text) <= THUMBNAIL:
        return text
    lengths = range(len(text))
    first_too_long = bisect_left(
        lengths, True, key=lambda length: font.getlength(_elided(text, length)) > THUMBNAIL
    )
    return _elided(text, first_too_long - 1)


def _elided(text: str, length: int) -> str:
    """The first and last letters of the text, `length` in all, around an ellipsis."""
    tail = length // 2
    return f"{text[: length - tail]}…{text[len(text) - tail :]}"
