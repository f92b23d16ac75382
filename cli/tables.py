"""Tables on stdout."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fgembed.text import showable

if TYPE_CHECKING:
    from fgembed.evaluation.floor_table import FloorTable

NARROWEST = 20  # columns of a terminal, below which a table is not folded


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]) -> None:
    """Prints a table; the columns in `right` are right-aligned.

    A rich table on a terminal. Elsewhere plain aligned text, never cut to a width and without
    importing rich.
    """
    shown = [[showable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        _print_plain(columns, shown, right)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if console.width < NARROWEST:
        _print_plain(columns, shown, right)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in shown:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]) -> None:
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = zip(columns, line, widths, strict=True)
        text = [c.rjust(w) if name in right else c.ljust(w) for name, c, w in cells]
        print("  ".join(text).rstrip())


def print_floor_table(table: "FloorTable") -> None:
    """Recall@1 with its interval, the rest as plain means, in percent."""
    from fgembed.evaluation.floor_table import percent

    names = table.metrics
    rows = [
        [row.encoder, str(row.dimensions), percent(row.scores[names[0]])]
        + [percent(row.scores.get(name)).partition(" ")[0] for name in names[1:]]
        for row in table.rows
    ]
    print_table(["encoder", "D", *names], rows, right={"D", *names})
    print(table.caption())
