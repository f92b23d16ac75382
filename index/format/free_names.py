"""Names of segments and other files of an index that are free."""

from pathlib import Path


def next_name(folder: Path, prefix: str, suffix: str = "") -> str:
    """A name with the next free number: no file or folder has it, not even after a crash."""
    numbers = (path.name[len(prefix) :].removesuffix(suffix) for path in folder.glob(f"{prefix}*"))
    last = max((int(number) for number in numbers if number.isdecimal()), default=0)
    return f"{prefix}{last + 1:06}{suffix}"
