"""The figures of a report: recall curves, and sheets of thumbnails."""

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from fgembed.disk.files import atomic_write
from fgembed.disk.outputs import SOFTWARE
from fgembed.evaluation.floor_table import FloorTable
from fgembed.text import drawable

if TYPE_CHECKING:  # at run time only where something is drawn: the extra may be missing
    from matplotlib.figure import Figure

DPI = 150
THUMBNAIL, LABELS, TITLE, HEADER, MARGIN, GAP = 1.3, 1.35, 0.34, 0.26, 0.1, 0.06  # inches
CHARACTERS = 17  # of a class name above a thumbnail
FLOOR_STYLES = [("#8a8580", ":"), ("#4d4945", "--")]
TRAINED_STYLE = ("#b4007d", "-")


@dataclass(frozen=True)
class SheetRow:
    """A row of a sheet: one image for each column."""

    label: str
    images: list[Image.Image]


def draw_curves(file: Path, table: FloorTable) -> None:
    """Draws recall@k over k of every row of the table; the floors' lines are not solid."""
    from matplotlib.figure import Figure  # not at the top: a missing extra is refused first

    figure = Figure(figsize=(7.5, 4.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    floors = islice(cycle(FLOOR_STYLES), len(table.floors))
    for row, (colour, line) in zip(table.rows, [*floors, TRAINED_STYLE], strict=True):
        ks = range(1, len(row.recall_curve) + 1)
        percents = [100 * recall for recall in row.recall_curve]
        width = 2.2 if line == "-" else 1.6
        axes.plot(ks, percents, color=colour, linestyle=line, linewidth=width, clip_on=False)
    names = [shortened(row.encoder, 44) for row in table.rows]
    legend = axes.legend(axes.get_lines(), names, loc="best", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    longest = max(len(row.recall_curve) for row in table.rows)
    axes.set_xlim(1, max(longest, 2))
    axes.set_ylim(0, 100)
    axes.set_xticks([k for k in (1, 5, 10, 20, 30, 40, 50) if k <= max(longest, 2)])
    axes.set_xlabel("k, nearest images")
    axes.set_ylabel("queries with an image of their class among them, %")
    axes.set_title(f"Recall@k, {table.protocol}", loc="left", fontsize=11)
    axes.grid(color="#e4e1dd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, file)


def draw_spread(
    file: Path, steps: Sequence[int], spreads: Sequence[float], ranks: Sequence[float]
) -> None:
    """Draws the spread and the effective rank of a training's embeddings over its steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.6), dpi=DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    colour, line = TRAINED_STYLE
    for axes, values, name in ((upper, spreads, "spread"), (lower, ranks, "effective rank")):
        axes.plot(steps, values, color=colour, linestyle=line, marker=".", linewidth=2.2)
        axes.set_ylim(0, 1.1 * max(*values, 1e-9))
        axes.set_ylabel(name)
        axes.grid(color="#e4e1dd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    lower.set_xlabel("step")
    upper.set_title("Spread of 64 training images' embeddings", loc="left", fontsize=11)
    save_figure(figure, file)


def draw_sheet(file: Path, title: str, columns: Sequence[str], rows: Sequence[SheetRow]) -> None:
    """Draws a sheet of thumbnails, labelled at the left of each row and above each column."""
    cell = THUMBNAIL + GAP
    width = LABELS + len(columns) * cell + MARGIN
    height = TITLE + HEADER + len(rows) * cell + MARGIN
    from matplotlib.figure import Figure  # not at the top: a missing extra is refused first

    figure = Figure(figsize=(width, height), dpi=DPI)

    def write(left: float, top: float, text: str, size: float, centred: bool) -> None:
        aligned = "center" if centred else "left"
        x, y = left / width, 1 - top / height
        label = figure.text(x, y, text, fontsize=size, ha=aligned, va="center")
        label.set_parse_math(False)

    write(MARGIN, TITLE / 2 + 0.03, title, 11, False)
    for number, name in enumerate(columns):
        middle = LABELS + number * cell + THUMBNAIL / 2
        write(middle, TITLE + HEADER / 2, shortened(name, CHARACTERS), 8, True)
    for line, row in enumerate(rows):
        top = TITLE + HEADER + line * cell
        write(MARGIN, top + THUMBNAIL / 2, textwrap.fill(row.label, 17), 9, False)
        for number, image in enumerate(row.images):
            left, bottom = LABELS + number * cell, height - top - THUMBNAIL
            box = (left / width, bottom / height, THUMBNAIL / width, THUMBNAIL / height)
            axes = figure.add_axes(box)
            axes.imshow(image, interpolation="lanczos")
            axes.set_axis_off()
    save_figure(figure, file)


def shortened(text: str, characters: int) -> str:
    """The text, cut in the middle because names differ at their ends."""
    text = drawable(text, _has_glyph)
    if len(text) <= characters:
        return text
    tail = (characters - 1) // 2
    return f"{text[: characters - 1 - tail]}…{text[len(text) - tail :]}"


@cache
def _has_glyph(letter: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties())).get_char_index(ord(letter)) != 0


def save_figure(figure: "Figure", file: Path) -> None:
    """Writes a figure as a PNG that is marked as ours, at once."""
    with warnings.catch_warnings(), atomic_write(file) as stream:
        warnings.filterwarnings("ignore", "Glyph")  # text that is not shortened is not escaped
        figure.savefig(stream, format="png", metadata=SOFTWARE)
