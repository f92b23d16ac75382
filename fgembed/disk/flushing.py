"""Flushes files and folders to disk, as far as the disk can."""

import errno
import os
from pathlib import Path

# What exFAT, SMB and FUSE answer to the flush of a folder. Their renames last without it or not
# at all; there is nothing else to call.
FOLDER_WITHOUT_FLUSH = (
    errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO, errno.EBADF,
    errno.EACCES, errno.EPERM, errno.EISDIR,
)  # fmt: skip


def sync(path: Path) -> None:
    """Flushes a file or the entries of a folder to disk, so that they survive a power cut.

    A folder whose disk cannot flush it is passed over.

    Raises:
        OSError: a file cannot be flushed, or the disk is full; the error names the path.
    """
    is_folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not (is_folder and error.errno in FOLDER_WITHOUT_FLUSH):
            raise named(error, path) from None


def named(error: OSError, path: Path) -> OSError:
    """The error with the path that it is about, which the system tells only of some calls."""
    return OSError(error.errno, error.strerror, str(path)) if error.errno else error
