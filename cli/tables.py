"""Tables on stdout."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from fgembed.text import showable

if TYPE_CHECKING:
    from fgembed.evaluate import FloorTable


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: set[str]) -> None:
    """Prints rows under their columns; the names in `right` are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(showable(cell) for cell in row))
    # Off a terminal nothing may be cut to an assumed width of 80.
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, markup=False, highlight=False).print(table)


def print_floor_table(table: "FloorTable") -> None:
    """Recall@1 with its interval, the rest as plain means, in percent."""
    from fgembed.evaluate import percent

    names = list(table.rows[0].scores)
    rows = [
        [row.encoder, str(row.dimensions), percent(row.scores[names[0]])]
        + [f"{100 * row.scores[name].value:.1f}" for name in names[1:]]
        for row in table.rows
    ]
    print_table(["encoder", "D", *names], rows, right={"D", *names})
    print(table.caption())
