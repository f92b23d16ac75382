"""How the commands show the path of an image."""

from pathlib import Path


def short_path(path: Path) -> Path:
    """Relative to the current folder if the image lies below it."""
    current = Path.cwd()
    return path.relative_to(current) if path.is_relative_to(current) else path
