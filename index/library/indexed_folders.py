"""The folders of an index's images, known again under another path: a link, a mount, a spelling."""

import os
from collections.abc import Iterable
from pathlib import Path

from fgembed.disk.file_state import state_or_none


class IndexedFolders:
    """The folders that hold indexed images, and those between them and the roots.

    Example:
        folders = IndexedFolders(indexed_images(vectors), manifest.roots)
        folders.spelled(Path("/link-to-photos/1.jpg"))  # /photos/1.jpg
    """

    def __init__(self, paths: Iterable[str], roots: Iterable[str]) -> None:
        """Asks the disk for each folder's identity, the highest folders first."""
        tops = set(roots)
        self._names: set[str] = set(tops)
        for folder in {os.path.split(path)[0] for path in paths}:
            self._add_up_to(tops, folder)
        self._spelling: dict[tuple[int, int], str] = {}
        for name in sorted(self._names, key=lambda name: (name.count(os.sep), name)):
            state = state_or_none(name)
            if state is not None and state.inode:
                self._spelling.setdefault(state.identity, name)
        self._spelled: dict[str, str] = {}

    def spelled(self, path: Path) -> Path:
        """An absolute path with its known folder spelled as the index spells it."""
        name = str(path)
        if name in self._names:
            return path
        folder, file = os.path.split(name)
        return path if (known := self._folder(folder)) == folder else Path(known, file)

    def folder(self, path: Path) -> Path:
        """A folder as the index spells it."""
        return Path(self._folder(str(path)))

    def _folder(self, name: str) -> str:
        if name in self._names:
            return name
        if name not in self._spelled:
            self._spelled[name] = self._respelled(name)
        return self._spelled[name]

    def _respelled(self, name: str) -> str:
        state = state_or_none(name)
        if state is not None and state.identity in self._spelling:
            return self._spelling[state.identity]
        parent, last = os.path.split(name)
        return name if parent == name else str(Path(self._folder(parent), last))

    def _add_up_to(self, tops: set[str], folder: str) -> None:
        """Adds a folder and its parents, up to the nearest root; without a root it alone."""
        between = [folder]
        while between[-1] not in tops:
            parent = os.path.split(between[-1])[0]
            if parent == between[-1]:
                between = [folder]
                break
            between.append(parent)
        self._names.update(between)
