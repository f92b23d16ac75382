"""The figure of quality against cost: of the start, its mirror image, its fit, and the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgembed.evaluation.floor_table import FloorTable, ScoreRow, percent
from fgembed.reports.plots import DPI, save_figure, shortened
from fgembed.text import showable

if TYPE_CHECKING:  # at run time only where something is drawn: the extra may be missing
    from matplotlib.axes import Axes

MEASURES = ("recall@1", "mAP")
# Of the rows in turn, the run's last: each has a marker of its own, for those who see no colours.
STYLES = [("#8a8580", "o"), ("#8a8580", "D"), ("#4d4945", "s"), ("#b4007d", "*")]


def compared_rows(table: FloorTable) -> list[ScoreRow]:
    """The rows that are drawn: mean pooling with and without mirror, the fitted start, the run.

    Those that were not timed, or not scored, are left out; without a floor nothing is drawn.
    """
    plain = [row for row in table.floors if ", mean pooling" in row.encoder]
    rows = [*plain, *table.floors[-1:], table.trained] if table.floors else []
    distinct = {row.encoder: row for row in rows}
    return [
        row
        for name, row in distinct.items()
        if name in table.speed and all(measure in row.scores for measure in MEASURES)
    ]


def draw_cost(file: Path, table: FloorTable) -> None:
    """Draws recall@1 and mAP of `compared_rows` over the milliseconds of an image."""
    from matplotlib.figure import Figure  # not at the top: a missing extra is refused first

    figure = Figure(figsize=(7.5, 4.6), dpi=DPI, layout="constrained")
    rows = compared_rows(table)
    both = figure.subplots(1, len(MEASURES), sharex=True)
    for axes, measure in zip(both, MEASURES, strict=True):
        _draw(axes, table, rows, measure)
    names = [shortened(row.encoder, 44) for row in rows]
    legend = figure.legend(both[0].lines, names, loc="outside lower center", ncols=2, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.suptitle("Quality against cost", x=0.01, ha="left", fontsize=11)
    save_figure(figure, file)


def _draw(axes: "Axes", table: FloorTable, rows: Sequence[ScoreRow], measure: str) -> None:
    costs = [table.speed[row.encoder].milliseconds for row in rows]
    styles = [*STYLES[: len(rows) - 1], STYLES[-1]]
    for row, cost, (colour, marker) in zip(rows, costs, styles, strict=True):
        score, speed = row.scores[measure], table.speed[row.encoder]
        middle = 100 * score.value
        axes.hlines(middle, 1000 / speed.high, 1000 / speed.low, color=colour, linewidth=1.2)
        axes.vlines(cost, 100 * score.low, 100 * score.high, color=colour, linewidth=1.2)
        size = 13 if marker == "*" else 8
        axes.plot([cost], [middle], marker, color=colour, markersize=size, clip_on=False)
    axes.set_xlim(0, 1.15 * max(costs))
    axes.set_xlabel("ms for an image")
    axes.set_title(f"{measure}, %", loc="left", fontsize=10)
    axes.grid(color="#e4e1dd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def cost_text(table: FloorTable) -> str:
    """The figure in words and as a table in Markdown."""
    words = (
        "Up and to the left is better. A line through a mark is the bootstrap 95 % interval over "
        "queries, across it the quartiles of the rounds that were timed: through the network "
        "alone, where and when this report was made. Another machine, or other work on it, gives "
        "other times."
    )
    heads = "| encoder | images/s | ms | " + " | ".join(MEASURES) + " |"
    lines = [words, "", heads, "|---|---|---|" + "---|" * len(MEASURES)]
    for row in compared_rows(table):
        speed = table.speed[row.encoder]
        scores = " | ".join(percent(row.scores[measure]) for measure in MEASURES)
        name = showable(row.encoder).replace("|", "\\|")
        lines.append(f"| {name} | {speed.cell()} | {speed.milliseconds:.3g} | {scores} |")
    return "\n".join(lines)
