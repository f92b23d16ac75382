"""One file is one entry of a listing, by whatever paths the listing names it.

Two paths name one file if they are equal, lead over links to one place, or are the same name in the
same folder of the disk, as through another mount point or another spelling of a letter. Hard links
are different names of one content, as copies are, and stay two.
"""

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgembed.disk.file_state import FileState, state_or_none
from fgembed.disk.files import sha256
from fgembed.text import composed


@dataclass(frozen=True)
class Repeated:
    """A path of a listing that was left out, because an earlier one names the same file.

    Attributes:
        path: left out.
        first: the earlier path, or that by which an index knows the file.
        other_metadata: whether its row gave other metadata, which was left out, too.
    """

    path: Path
    first: Path
    other_metadata: bool


@dataclass(frozen=True)
class Distinct:
    """The rows of a listing that name each file once.

    Attributes:
        rows: their positions, rising.
        states: of their files, in the same order; None for a file that cannot be reached.
        repeated: the others.
    """

    rows: list[int]
    states: list[FileState | None]
    repeated: list[Repeated]


def distinct(
    paths: Sequence[Path], columns: dict[str, list[Any]], known: Container[str] = ()
) -> Distinct:
    """Finds the first row of each file, or the row whose path is known, wherever it stands.

    Args:
        paths: absolute paths of a listing.
        columns: its metadata, a value for each path.
        known: the paths of an index, whose content is compared with that of the file.
    """
    row_of: dict[str, int] = {}
    rows_of: dict[tuple[int, int], list[int]] = {}
    result = Distinct([], [], [])
    for row in sorted(range(len(paths)), key=lambda row: str(paths[row]) not in known):
        path, name = paths[row], str(paths[row])
        state = None if name in row_of else state_or_none(path)
        first = row_of.setdefault(name, row)
        if state is not None and state.inode:
            same_inode = rows_of.setdefault(state.identity, [])
            equal = (other for other in same_inode if same_file(paths[other], path, state))
            first = next(equal, row)
            same_inode.append(row)
        if first == row:
            result.rows.append(row)
            result.states.append(state)
        else:
            other = any(values[row] != values[first] for values in columns.values())
            result.repeated.append(Repeated(path, paths[first], other))
    order = sorted(range(len(result.rows)), key=result.rows.__getitem__)
    rows, states = [result.rows[i] for i in order], [result.states[i] for i in order]
    return Distinct(rows, states, result.repeated)


def same_file(first: Path, second: Path, state: FileState) -> bool:
    """Whether two paths with the inode of `state` name one file, and are not two hard links."""
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    folders = [state_or_none(os.path.realpath(path.parent)) for path in (first, second)]
    if folders[0] and folders[1] and folders[0].identity == folders[1].identity:
        return _key(first) == _key(second)
    try:  # inodes that a network disk makes up need not be unique
        return state.links == 1 and sha256(first) == sha256(second)
    except OSError:
        return False


def _key(path: Path) -> str:
    return composed(path.name).casefold()
