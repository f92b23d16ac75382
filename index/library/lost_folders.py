"""Which missing images were removed, and which are rather out of reach: whole folders of them.

A disk that is not mounted, a share that is away and a synced folder that still loads look like the
removal of many images at once. So a folder has lost its images, and its entries stay, when

- all of its images are missing, or the single one and nothing else is there;
- at least 3 and more than half of its images are missing; or
- more than 10 and more than a quarter.

Subfolders count with their folder. What the user says is gone is removed.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fgembed.index.library.indexed_images import is_below


@dataclass(frozen=True)
class LostFolder:
    """A folder that lost so many images at once that their entries stay.

    Attributes:
        folder: absolute.
        names: the missing images at any depth below it, absolute.
        indexed: number of its images in the index.
        reason: what is seen there, such as `empty`.
    """

    folder: str
    names: list[str]
    indexed: int
    reason: str


@dataclass
class _Folder:
    indexed: int = 0
    listed: int = 0
    missing: list[str] = field(default_factory=list)
    children: set[str] = field(default_factory=set)


def _is_lost(missing: int, indexed: int, listed: int) -> bool:
    """Whether so many missing of so many indexed images are rather out of reach than removed."""
    if missing == indexed:
        return missing > 1 or (missing == 1 and not listed)
    return (missing >= 3 and missing > indexed / 2) or (missing > 10 and missing > indexed / 4)


def lost_folders(
    source: str, indexed: Sequence[str], missing: Sequence[str], listed: Iterable[str]
) -> list[LostFolder]:
    """The folders at or below `source` that have lost their images.

    Args:
        source: a folder, absolute.
        indexed: the images that the index has below it.
        missing: those of them that have no file.
        listed: the images that are there.
    """
    if not missing:
        return []
    folders: dict[str, _Folder] = {source: _Folder()}
    absent = set(missing)
    for name in indexed:
        for folder in _counted(folders, source, name):
            folder.indexed += 1
            if name in absent:
                folder.missing.append(name)
    for name in listed:
        if is_below(name, source):
            for folder in _counted(folders, source, name):
                folder.listed += 1
    return [_described(name, folders[name]) for name in _lost(folders, source)]


def _counted(folders: dict[str, _Folder], source: str, name: str) -> Iterator[_Folder]:
    """The folders of an image, from its own up to the source."""
    child = name
    while child != source:
        parent = os.path.split(child)[0]
        folder = folders.setdefault(parent, _Folder())
        if child != name:
            folder.children.add(child)
        yield folder
        child = parent


def _lost(folders: dict[str, _Folder], name: str) -> list[str]:
    """The highest folders of which all is lost, and the deepest that explain any other loss."""
    folder = folders[name]
    missing, indexed = len(folder.missing), folder.indexed
    if missing == indexed and _is_lost(missing, indexed, folder.listed):
        return [name]
    below = [lost for child in sorted(folder.children) for lost in _lost(folders, child)]
    missing -= sum(len(folders[lost].missing) for lost in below)
    indexed -= sum(folders[lost].indexed for lost in below)
    return [name] if missing and _is_lost(missing, indexed, folder.listed) else below


def _described(name: str, folder: _Folder) -> LostFolder:
    missing = len(folder.missing)
    if missing < folder.indexed:
        reason = f"holds only {folder.indexed - missing} of them"
    else:
        reason = "holds none of them" if folder.listed else _seen_at(name)
    return LostFolder(name, folder.missing, folder.indexed, reason)


def _seen_at(folder: str) -> str:
    try:
        return "holds none of them" if any(os.scandir(folder)) else "empty"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
