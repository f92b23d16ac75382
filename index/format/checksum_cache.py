"""Checksums of an index's files, proved once: what has not changed since need not be read again.

A checksum of a gigabyte takes seconds, a search milliseconds. So the file's size, inode, and times
of change are written down with the checksum they were proved with, as git does. Nobody can set the
time of the last status change, so whatever was written since is read again. A disk that decays
without a write is found by `fgembed index verify`, which reads everything.
"""

import json
from pathlib import Path

from fgembed.disk.files import check_files, write_text
from fgembed.index.format.manifest import PROVED_FILE, Manifest

WORTH_BYTES = 1 << 24  # smaller files are read each time


def prove(folder: Path, manifest: Manifest) -> None:
    """Proves every file of the index, except the large ones that were and have not changed.

    Raises:
        IntegrityError: a file is missing or damaged.
    """
    known = _read(folder)
    stamps = {name: stamp for name in manifest.files if (stamp := _stamp(folder / name))}
    doubtful = {
        name: checksum
        for name, checksum in manifest.files.items()
        if name not in stamps or known.get(name) != [checksum, *stamps[name]]
    }
    check_files(folder, doubtful, "index")
    # Stamps were taken before the files were read: a change in between makes them not fit.
    proved = {name: [manifest.files[name], *stamp] for name, stamp in stamps.items()}
    if any(name in stamps for name in doubtful):
        try:
            write_text(folder / PROVED_FILE, json.dumps(proved))
        except OSError:  # read-only: then it is read each time
            pass


def _read(folder: Path) -> dict[str, list[object]]:
    try:
        known = json.loads((folder / PROVED_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _stamp(file: Path) -> list[int] | None:
    """What changes when a large file does; None for one that is not worth it."""
    try:
        status = file.stat()
    except OSError:
        return None
    if status.st_size < WORTH_BYTES:
        return None
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
