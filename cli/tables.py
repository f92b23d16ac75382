"""Tables on stdout."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fgembed.text import showable

if TYPE_CHECKING:
    from fgembed.evaluation.floor_table import FloorTable

SPEED = "images/s"
SPEED_NOTE = (
    "images/s: through the network alone, here and now: the median of a few rounds, which other "
    "work on the machine lowers."
)
NARROWEST = 20  # columns of a terminal, below which a table is not folded


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]) -> None:
    """Prints a table; the columns in `right` are right-aligned.

    A rich table on a terminal. Elsewhere plain aligned text, never cut to a width and without
    importing rich.
    """
    shown = [[showable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        print("\n".join(plain_lines(columns, shown, right)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if console.width < NARROWEST:
        print("\n".join(plain_lines(columns, shown, right)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in shown:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def plain_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]
) -> list[str]:
    """A table as aligned lines of text, its header first."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    texts = []
    for line in lines:
        cells = zip(columns, line, widths, strict=True)
        text = [c.rjust(w) if name in right else c.ljust(w) for name, c, w in cells]
        texts.append("  ".join(text).rstrip())
    return texts


def print_floor_table(table: "FloorTable") -> None:
    """Recall@1 with its interval, the rest as plain means, in percent; the speed where known."""
    from fgembed.evaluation.floor_table import ABSENT, percent

    names = table.metrics
    timed = [SPEED] if table.speed else []
    rows = []
    for row in table.rows:
        speed = table.speed.get(row.encoder)
        cells = [row.encoder, str(row.dimensions), percent(row.scores[names[0]])]
        cells += [percent(row.scores.get(name)).partition(" ")[0] for name in names[1:]]
        rows.append(cells + [speed.short() if speed else ABSENT for _ in timed])
    columns = ["encoder", "D", *names, *timed]
    print_table(columns, rows, right={"D", *names, *timed})
    print(table.caption())
    if timed:
        print(SPEED_NOTE)
