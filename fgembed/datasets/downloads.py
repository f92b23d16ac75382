"""The files of a folder of downloads: loose ones, and those inside tar and zip archives."""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from fgembed.errors import FgembedError, IntegrityError, NotFoundError

TARS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 1 << 28  # of a file
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)

Read = Callable[[], bytes]


class Downloads:
    """Finds files by the end of their path, wherever an archive or a person has put them."""

    def __init__(self, folder: Path) -> None:
        """Lists the folder; opens nothing.

        Raises:
            NotFoundError: there is no such folder, or it is empty.
        """
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            raise NotFoundError(
                f"{folder} is no folder with files in it",
                "give the folder that the archives were downloaded to",
            )
        self.folder = folder
        self.archives = [path for path in files if path.name.endswith((*TARS, ".zip"))]
        self.loose = [path for path in files if path not in set(self.archives)]

    def matching(self, ends: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The files whose path ends with one of these, each once: the end, and the content.

        Loose files come first, then the archives in the order of their names.

        Args:
            ends: last components of paths, such as `parts/parts.txt`.

        Raises:
            IntegrityError: an archive is damaged.
            FgembedError: a file is larger than 256 MB.
        """
        waiting = set(ends)
        for source, files in self._sources():
            try:
                yield from _matching(files, waiting)
            except DAMAGED as error:
                reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
                raise IntegrityError(
                    f"{source} cannot be read: {reason}", "download it again"
                ) from None
            if not waiting:
                return

    def _sources(self) -> Iterator[tuple[Path, Iterator[tuple[str, Read]]]]:
        yield self.folder, ((path.as_posix(), partial(_content, path)) for path in self.loose)
        for archive in self.archives:
            yield archive, _zipped(archive) if archive.suffix == ".zip" else _tarred(archive)


def _matching(files: Iterator[tuple[str, Read]], waiting: set[str]) -> Iterator[tuple[str, bytes]]:
    """Those of the files that are waited for; they are taken out of `waiting`."""
    depths = sorted({end.count("/") + 1 for end in waiting}, reverse=True)
    for path, read in files:
        parts = PurePosixPath(path).parts
        ends = ("/".join(parts[-depth:]) for depth in depths)
        end = next((end for end in ends if end in waiting), None)
        if end is not None:
            waiting.remove(end)
            yield end, read()
        if not waiting:
            return


def _tarred(archive: Path) -> Iterator[tuple[str, Read]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isfile() else None
            if file is not None:
                _check(f"{archive}/{member.name}", member.size)
                yield member.name, file.read


def _zipped(archive: Path) -> Iterator[tuple[str, Read]]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if not member.is_dir():
                _check(f"{archive}/{member.filename}", member.file_size)
                yield member.filename, partial(opened.read, member)


def _content(path: Path) -> bytes:
    _check(str(path), path.stat().st_size)
    return path.read_bytes()


def _check(name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise FgembedError(
            f"{name} has {size:,} bytes, more than any file of these data sets", "leave it out"
        )
