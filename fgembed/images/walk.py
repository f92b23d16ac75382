"""The walk through a folder: each entry is an image, a picture that is not read, clutter, or none.

Names are strings and entries those of `os.scandir` here: a library has 100,000 files.
"""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from fgembed.images.kinds.clutter import file_label, folder_label, marker, report_images
from fgembed.images.kinds.extensions import extension, not_read, unread_reason
from fgembed.images.kinds.formats import EXTENSIONS, NO_IMAGE
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.kinds.signatures import format_of, is_fgembed_png, is_read, read_head
from fgembed.images.limits import raise_if_out_of_files
from fgembed.images.skipped import Skipped

MAX_COUNTED = 200_000  # entries of clutter
PLACEHOLDERS = (".icloud", ".nextcloud", ".owncloud")
NOT_DOWNLOADED = "not on this disk but with a cloud service; download it first"
BROKEN_LINK = "a link to what is not there; mount or restore it"
FGEMBED_OUTPUT = "pages and plots of fgembed"


@dataclass
class Scan:
    """What a folder holds.

    Attributes:
        paths: the images, sorted.
        skipped: files and folders that cannot be read or named, and pictures of formats that are
            not read.
        passed_over: the images in it that are clutter.
    """

    paths: list[Path] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)


class Walk:
    """Reads a folder and all below it, without recursion, into a `Scan`.

    Attributes:
        scan: filled by `read` and `count_clutter`; its paths by `finished`.
    """

    def __init__(self, include_clutter: bool) -> None:
        self.scan = Scan()
        self.names: list[str] = []  # of the images; many, so made into paths once and at the end
        self.include_clutter = include_clutter
        self.seen: set[tuple[int, int]] = set()
        self.clutter: list[tuple[str, str]] = []  # folders, and what they are called

    def read(self, root: Path) -> None:
        """Reads a folder and all below it, except for clutter."""
        pending = [str(root)]
        while pending:
            folder = pending.pop()
            folders, files = self._entries(folder)
            parent = folder.rpartition("/")[2]
            for entry in reversed(folders):
                label = None if self.include_clutter else folder_label(entry.name, parent)
                mark = None if self.include_clutter else marker(entry.name)
                if mark is not None and os.path.lexists(f"{entry.path}/{mark}"):
                    label = entry.name
                if label is None:
                    pending.append(entry.path)
                else:
                    self.clutter.append((entry.path, label))
            report = report_images({entry.name for entry in files})
            for entry in files:
                self._add(entry, report)

    def count_clutter(self) -> None:
        """Counts the images in the folders that were passed over, by name alone.

        It stops after `MAX_COUNTED`: a disk's snapshots hold a library many times over.
        """
        entries = 0
        for clutter, label in self.clutter:
            pending = [clutter]
            while pending:
                if entries > MAX_COUNTED:
                    self.scan.passed_over.is_complete = False
                    return
                folders, files = self._entries(pending.pop(), is_clutter=True)
                pending += [entry.path for entry in folders if not entry.is_symlink()]
                entries += len(folders) + len(files)
                images = sum(
                    extension(entry.name) in EXTENSIONS or file_label(entry.name) is not None
                    for entry in files
                )
                if images:
                    self.scan.passed_over.counts[label] += images

    def finished(self) -> Scan:
        """The scan, its images as sorted paths."""
        self.names.sort(key=lambda name: name.split("/"))
        last, folder = "/", Path()
        for name in self.names:
            start = name.rfind("/")
            if name[:start] != last:
                last, folder = name[:start], Path(name[:start] or "/")
            self.scan.paths.append(folder / name[start + 1 :])
        return self.scan

    def _entries(
        self, folder: str, is_clutter: bool = False
    ) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
        """The folders and the other entries of a folder, by name; none if it was read before."""
        folders: list[os.DirEntry[str]] = []
        files: list[os.DirEntry[str]] = []
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in self.seen:
                return [], []
            self.seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    is_folder = self._is_folder(entry, is_clutter)
                    if is_folder is not None:
                        (folders if is_folder else files).append(entry)
            if files:
                Path(files[0].path).lstat()  # fails where names may be read, but no file
        except OSError as error:
            raise_if_out_of_files(error)
            if not is_clutter:
                self._skip(folder, error.strerror or "cannot be read")
            return [], []
        return folders, files

    def _is_folder(self, entry: os.DirEntry[str], is_clutter: bool) -> bool | None:
        """Whether an entry is a folder; None where nobody can tell."""
        try:
            return entry.is_dir()
        except OSError as error:
            if error.errno == errno.ELOOP:  # links in a circle
                return False
            if not is_clutter:
                self._skip(entry.path, error.strerror or "cannot be read")
            return None

    def _add(self, entry: os.DirEntry[str], report: frozenset[str]) -> None:
        name = entry.name
        if name.endswith(PLACEHOLDERS) and extension(name.rpartition(".")[0]) in EXTENSIONS:
            self._skip(entry.path, NOT_DOWNLOADED, is_bad=False)
            return
        if not self.include_clutter:
            label = FGEMBED_OUTPUT if name in report else file_label(name)
            if label is not None:
                self.scan.passed_over.counts[label] += 1
                return
            if name.startswith("."):
                return
        ending = extension(name)
        if ending in EXTENSIONS:
            if ending == ".png" and not self.include_clutter and is_fgembed_png(_head(entry)):
                self.scan.passed_over.counts[FGEMBED_OUTPUT] += 1
                return
            self._keep(entry.path)
            return
        reason = unread_reason(name)
        if reason is not None:
            self._skip(entry.path, reason, is_bad=False)
        elif ending not in NO_IMAGE:
            self._add_by_content(entry)

    def _add_by_content(self, entry: os.DirEntry[str]) -> None:
        """Keeps a file whose name says nothing, if it begins like an image."""
        try:
            format_ = format_of(read_head(entry.path)) if entry.is_file() else None
        except OSError as error:  # no right to read it: nothing says that it is a picture
            raise_if_out_of_files(error)
            return
        if entry.is_symlink() and not Path(entry.path).exists():
            self._skip(entry.path, BROKEN_LINK, is_bad=False)
        elif is_read(format_):
            self._keep(entry.path)
        elif format_ is not None:
            self._skip(entry.path, not_read(format_), is_bad=False)

    def _keep(self, path: str) -> None:
        try:
            path.encode()
        except UnicodeEncodeError:
            self._skip(path, "file name is not valid UTF-8")
        else:
            self.names.append(path)

    def _skip(self, path: str, reason: str, is_bad: bool = True) -> None:
        self.scan.skipped.append(Skipped(Path(path), reason, is_bad))


def _head(entry: os.DirEntry[str]) -> bytes:
    """The first bytes of a file; none of what is no file or cannot be read."""
    try:
        return read_head(entry.path) if entry.is_file() else b""
    except OSError:
        return b""
