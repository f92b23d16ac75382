"""What the file system says of a file: a hint at its content, which only a checksum proves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

LARGEST = (1 << 63) - 1  # of the 64-bit integers in which sizes and times are stored


@dataclass(frozen=True, slots=True)
class FileState:
    """The status of a file, links followed.

    Attributes:
        size: in bytes.
        mtime_ns: time of the last change of the content, as any program may set it.
        ctime_ns: time of the last change of the content or the status; only the system sets it.
        device: of the file system.
        inode: of the file on its device; 0 if the file system has none.
        links: number of names on the disk.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int
    links: int

    @classmethod
    def of(cls, path: Path | str) -> Self:
        """The state of an existing file.

        Raises:
            OSError: there is none, or it cannot be reached.
        """
        status = (path if isinstance(path, Path) else Path(path)).stat()
        return cls(
            size=status.st_size,
            mtime_ns=clipped(status.st_mtime_ns),
            ctime_ns=clipped(status.st_ctime_ns),
            device=status.st_dev,
            inode=status.st_ino,
            links=status.st_nlink,
        )

    def may_equal(self, other: "FileState | None") -> bool:
        """Whether the content may be that of another state: its size, time and inode are."""
        if other is None:
            return False
        same_content = (self.size, self.mtime_ns) == (other.size, other.mtime_ns)
        return same_content and self.identity == other.identity

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: equal for two paths to one file."""
        return self.device, self.inode


def clipped(number: int) -> int:
    """A number within 64 bits: a file's time may lie after the year 2262.

    Example:
        >>> clipped(1 << 70) == LARGEST, clipped(7)
        (True, 7)
    """
    return max(-LARGEST - 1, min(number, LARGEST))


def state_or_none(path: Path | str) -> FileState | None:
    """The state of a file, None if it cannot be had."""
    try:
        return FileState.of(path)
    except (OSError, ValueError):  # ValueError: the path holds a null byte
        return None


def is_gone(path: Path | str) -> bool:
    """Whether a path names nothing any more. A link to nothing, and what cannot be read, is there.

    Raises:
        OSError: it cannot be told, as on a disk that fails or in a folder that is closed to us.
    """
    try:
        Path(path).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False
