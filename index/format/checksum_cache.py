"""Checks the checksums of an index's files, and skips large files that have not changed since.

A checksum of a gigabyte takes seconds, a search milliseconds. So a cache file records the checksum
with the file's size, inode and times of change, as git does. No program can set the time of the
last status change, so a file that was written since is read again. A file that has just been
written is not recorded: within a tick of the clock another change would have the same time. Decay
of a disk without a write is the task of `fgembed index verify`, which reads everything.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

from fgembed.disk.files import check_files, write_text
from fgembed.index.format.manifest import PROVED_FILE, Manifest

MIN_CACHED_BYTES = 1 << 24  # smaller files are read every time
SETTLED_NS = 3_000_000_000  # some disks count time in steps of two seconds


def check_index_files(folder: Path, manifest: Manifest) -> None:
    """Checks every file of the index, except large ones that were checked and have not changed.

    Raises:
        IntegrityError: a file is missing or damaged.
    """
    cached, now = _read(folder), time.time_ns()
    stamps = {name: stamp for name in manifest.files if (stamp := _stamp(folder / name))}
    unchecked = {
        name: checksum
        for name, checksum in manifest.files.items()
        if name not in stamps or cached.get(name) != [checksum, *stamps[name]]
    }
    check_files(folder, unchecked, "index")
    # Stamps are older than the reading of the files, so a change in between is noticed next time.
    settled = {name: stamp for name, stamp in stamps.items() if stamp[-1] < now - SETTLED_NS}
    checked = {name: [manifest.files[name], *stamp] for name, stamp in settled.items()}
    if any(name in checked for name in unchecked):
        with suppress(OSError):  # a read-only folder gets no cache
            write_text(folder / PROVED_FILE, json.dumps(checked))


def _read(folder: Path) -> dict[str, list[object]]:
    try:
        cached = json.loads((folder / PROVED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cached if isinstance(cached, dict) else {}


def _stamp(file: Path) -> list[int] | None:
    """Values that change when a large file changes; None for a small or missing file."""
    try:
        status = file.stat()
    except OSError:
        return None
    if status.st_size < MIN_CACHED_BYTES:
        return None
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
