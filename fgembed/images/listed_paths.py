"""Paths in lists and manifests as people and programs write them, resolved to files."""

import os
from pathlib import Path

from fgembed.disk.text_files import at_home


def located(path: str, folder: Path) -> Path:
    """The file that a list in `folder` names: relative to it, or to home if it begins with `~`.

    PowerShell pads lines with spaces, Windows copies paths in quotes, and spreadsheets leave a
    space after a comma: what surrounds the path is dropped unless a file is really named so.

    Example:
        >>> located("a.jpg  ", Path("photos")) == located('"a.jpg"', Path("photos"))
        True
    """
    tidy = _unquoted(path.strip())
    if tidy == path and not path.startswith("~"):
        return folder / path
    if not tidy or os.path.lexists(folder / path):
        return folder / path
    if os.path.lexists(folder / tidy):
        return folder / tidy
    return folder / at_home(tidy)


def _unquoted(path: str) -> str:
    """The path without the pair of quotes around it."""
    is_quoted = len(path) > 2 and path[0] == path[-1] and path[0] in "\"'"
    return path[1:-1] if is_quoted else path
