"""Finds a path on disk that looks like the given one: letters may be composed or decomposed."""

from pathlib import Path

from fgembed.text import composed


def on_disk(path: Path) -> Path:
    """The path as the disk spells it: as given if it exists, else the one that looks the same.

    A path of which the disk has nothing alike, or two, stays as it is.

    Example:
        >>> on_disk(Path("/"))
        PosixPath('/')
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return _alike(path)
    except (OSError, ValueError):
        pass
    return path


def _alike(path: Path) -> Path:
    if path.parent == path or str(path).isascii():
        return path
    parent = on_disk(path.parent)
    try:
        names = [entry.name for entry in parent.iterdir()]
    except OSError:
        return path
    alike = [name for name in names if composed(name) == composed(path.name)]
    return parent / alike[0] if len(alike) == 1 else path
