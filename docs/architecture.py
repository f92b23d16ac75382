"""Draws docs/architecture.svg: the rooms of fgembed by layer, and what imports what.

The layers are those of the contract in pyproject.toml, the dots come from the graph that
import-linter itself checks (grimp), and the words from each package's docstring. A test draws it
again and compares.

    python -m docs.architecture
"""

import ast
import tomllib
from html import escape
from itertools import product
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
TEXT, CELL, HEAD, MARGIN = 610, 22, 92, 12  # px
STYLE = (
    "text{font-family:Helvetica,Arial,sans-serif;font-size:12px;fill:#222}.room{font-weight:bold}"
    ".what{fill:#555}.layer{stroke:#8a8580}.cell{stroke:#ddd8d2}circle{fill:#b4007d}"
    ".self{fill:#e8e4df}"
)


def layers() -> list[list[str]]:
    """The rooms of each layer, top first, from the first contract of pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = settings["tool"]["importlinter"]["contracts"][0]
    return [[room.strip() for room in layer.split("|")] for layer in contract["layers"]]


def imports(rooms: list[str]) -> set[tuple[str, str]]:
    """Which room imports which, directly."""
    graph = grimp.build_graph("fgembed")
    modules = {
        room: {f"fgembed.{room}", *graph.find_descendants(f"fgembed.{room}")} for room in rooms
    }
    return {
        (importer, imported)
        for importer, imported in product(rooms, rooms)
        for module in modules[importer]
        if importer != imported
        and graph.find_modules_directly_imported_by(module) & modules[imported]
    }


def description(room: str) -> str:
    """The first line of a room's docstring."""
    path = ROOT / "fgembed" / room
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return (
        (ast.get_docstring(ast.parse(file.read_text())) or "")
        .partition("\n")[0]
        .rstrip(".")
        .replace("`", "")
    )


def line(kind: str, x1: int, y1: int, x2: int, y2: int) -> str:
    """One line of the SVG."""
    return f'<path class="{kind}" d="M{x1} {y1}L{x2} {y2}"/>'


def picture() -> str:
    """The SVG file's content: a row and a column a room, a dot where the row imports the column."""
    rows = layers()
    rooms = [room for row in rows for room in row]
    right, bottom = TEXT + CELL * len(rooms), HEAD + CELL * len(rooms)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 12} {bottom + 12}">',
        "<title>The rooms of fgembed: each imports only what stands below it</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{right + 12}" height="{bottom + 12}" style="fill:#fff"/>',
    ]
    for number, room in enumerate(rooms):
        x, y = TEXT + CELL * number, HEAD + CELL * number
        lines += [
            f'<rect class="self" x="{x}" y="{y}" width="{CELL}" height="{CELL}"/>',
            line("cell", x, HEAD, x, bottom),
            f'<text transform="translate({x + 15} {HEAD - 6})rotate(-60)">{room}</text>',
            f'<text class="room" x="{MARGIN}" y="{y + 15}">{room}</text>',
            f'<text class="what" x="{MARGIN + 84}" y="{y + 15}">{escape(description(room))}</text>',
        ]
    position = {room: number for number, room in enumerate(rooms)}
    lines += [
        f'<circle cx="{TEXT + CELL * position[imported] + CELL // 2}" '
        f'cy="{HEAD + CELL * position[importer] + CELL // 2}" r="4"/>'
        for importer, imported in sorted(imports(rooms))
    ]
    start = 0
    for row in rows:
        lines.append(line("layer", MARGIN, HEAD + CELL * start, right, HEAD + CELL * start))
        start += len(row)
    return "\n".join([*lines, line("layer", MARGIN, bottom, right, bottom), "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture())
