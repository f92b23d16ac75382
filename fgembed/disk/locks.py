"""One writer at a time: locks of the kernel, which end with their process however that ends.

A lock file is empty and means nothing by itself: what a killed process leaves behind is taken by
the next one, also where the two ran in containers. A folder that is written in place holds its
lock, so that it is the same one wherever the folder is mounted. A folder that is replaced as a
whole (`fgembed.disk.files.staged_folder`) has it beside itself, where the swap leaves it alone.
Readers take no lock: what they read is replaced atomically.

filelock is imported inside the function, since a search imports this module and locks nothing.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from fgembed.errors import FgembedError, InUseError

LOCK_FILE = ".lock"
GRACE_S = 0.5  # in which a process that was forked just before the kill closes the lock
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)

_held: ContextVar[frozenset[Path]] = ContextVar("_held", default=frozenset())


@contextmanager
def sole_writer(
    folder: Path, lock_file: Path | None = None, wait_s: float = GRACE_S
) -> Iterator[None]:
    """Within the block nobody else who asks for the same lock writes `folder`.

    The code of the block may ask again; another thread may not.

    Args:
        folder: what is written.
        lock_file: its parent is made if it is missing; `.lock` in the folder if None.
        wait_s: how long to wait for another writer.

    Raises:
        InUseError: another writer has the lock.
        FgembedError: the disk has no locks.
        OSError: the lock file cannot be opened, as in a folder that is read-only.
    """
    from filelock import FileLock, Timeout

    file = (lock_file or folder / LOCK_FILE).absolute()
    if file in _held.get():
        yield
        return
    # Without the kernel's locks filelock would fall back to a file that a kill leaves locked.
    lock = FileLock(file, timeout=wait_s, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise in_use(folder) from None
    except OSError as error:
        raise _without_lock(error, folder) from None
    own = file.stat()
    before = _held.set(_held.get() | {file})
    try:
        yield
    finally:
        _held.reset(before)
        # Whoever opened this file meanwhile sees that it has no name left. Where the block has
        # moved the folder away, another writer's file may lie in its place.
        with suppress(OSError):
            if os.path.samestat(file.stat(), own):
                file.unlink()
        lock.release()


def lock_beside(target: Path) -> Path:
    """The lock file of a folder that is replaced as a whole.

    Example:
        >>> lock_beside(Path("work/bundle")).as_posix()
        'work/.bundle.lock'
    """
    return target.with_name(f".{target.name}.lock")


def in_use(folder: Path) -> InUseError:
    """The error of a folder that another process writes."""
    return InUseError(f"another process is writing {folder}", "wait for it to end, then try again")


def _without_lock(error: OSError, folder: Path) -> Exception:
    if error.errno == errno.ESTALE:  # on a network disk, its last owner has just removed it
        return in_use(folder)
    if error.filename is None and error.errno in WITHOUT_LOCKS:  # of the lock, not of its file
        return FgembedError(
            f"the disk of {folder} has no file locks ({error.strerror}), so that two processes "
            "could write it at once",
            "write to a folder on another disk, then copy it there",
        )
    return OSError(error.errno, error.strerror, str(error.filename or folder))
