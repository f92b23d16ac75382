"""Files that a user asks for by path: none takes the place of a file that fgembed did not write.

What was there is known by its content. A command checks before it begins its work, and the file is
checked again when the new one is about to get its name.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fgembed.disk.files import atomic_write
from fgembed.errors import FgembedError

SOFTWARE = {"Software": "fgembed"}  # the text of PNG files, as Pillow and matplotlib take it
PNG_OPENING = b"\x89PNG\r\n\x1a\n"
OPENING_BYTES = 4096
# The files that say what a folder is, with a `model_type` that begins so.
FOLDERS = {"manifest.json": "an index", "config.json": "a bundle", "embed.json": "embeddings"}


@dataclass(frozen=True)
class Output:
    """A kind of file that fgembed writes.

    Attributes:
        kind: what it is, for messages.
        endings: of its name; any if there are none.
        is_ours: whether fgembed wrote the file, judged by its content.
    """

    kind: str
    endings: tuple[str, ...]
    is_ours: Callable[[Path], bool]

    def check(self, file: Path, inputs: Sequence[Path] = ()) -> None:
        """Refuses a path where such a file must not or cannot be written.

        Args:
            file: the path.
            inputs: files that the command reads.

        Raises:
            FgembedError: it has another ending, is an input, lies in a folder of fgembed's own, or
                is there already and not one that fgembed wrote.
            OSError: its folder cannot be written, or what is there cannot be read.
        """
        if self.endings and file.suffix.lower() not in self.endings:
            only = f"is no {self.endings[0]} file" if len(self.endings) == 1 else ""
            raise FgembedError(
                f"{file} {only or 'is neither ' + ' nor '.join(self.endings)}",
                f"give {self.kind} a name that ends in {' or '.join(self.endings)}",
            )
        _check_folder(file)
        if any(path.exists() and file.exists() and path.samefile(file) for path in inputs):
            raise FgembedError(f"{file} is what the command reads", "choose another path")
        if os.path.lexists(file) and not self._may_replace(file):
            raise FgembedError(
                f"{file} is there and is not {self.kind} that fgembed wrote",
                "choose another path, or move that file away",
            )

    @contextmanager
    def write(self, file: Path) -> Iterator[BinaryIO]:
        """`atomic_write`, refused as `check` does when the file is about to get its name."""
        with atomic_write(file, before=self.check) as stream:
            yield stream

    def _may_replace(self, file: Path) -> bool:
        try:
            found = file.stat()
        except FileNotFoundError:  # a link to a disk that is not there
            return False
        return stat.S_ISREG(found.st_mode) and (found.st_size == 0 or self.is_ours(file))


def opening(file: Path) -> bytes:
    """The first bytes of a file, at most `OPENING_BYTES`."""
    with file.open("rb") as stream:
        return stream.read(OPENING_BYTES)


def is_our_png(file: Path) -> bool:
    """Whether a file is a PNG image with the mark of `SOFTWARE`."""
    start = opening(file)
    return start.startswith(PNG_OPENING) and b"tEXtSoftware\0fgembed" in start


def _check_folder(file: Path) -> None:
    """Refuses a folder that cannot be written or in which a foreign file would be in the way."""
    folder = next(path for path in file.absolute().parents if os.path.lexists(path))
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    for parent in (folder.resolve(), *folder.resolve().parents):
        for name, kind in FOLDERS.items():
            if _model_type(parent / name).startswith("fgembed"):
                raise FgembedError(
                    f"{file} lies in {parent}, which is {kind}", "choose another path"
                )


def _model_type(file: Path) -> str:
    try:
        return str(json.loads(file.read_bytes()).get("model_type"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
