"""Temporary files beside their target: named after their process, swept when it has ended.

File locks would not do instead. Not every file system that machines share passes a lock on to the
others, so one machine would sweep what another is writing. A lock on a folder needs a file of its
own, which the same crash leaves behind. And a search imports this module, but not filelock.
"""

import glob
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Literal

ABANDONED_AFTER_S = 86_400  # on another machine, where nobody can ask for the process
PROCESS_TOKEN = os.urandom(4).hex()  # tells this process from an earlier one of the same number


@contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """A path of this process beside `target`; removed after the block unless it was renamed."""
    path = beside(target, "tmp")
    _remove(path)  # what an interrupted block of this process left
    try:
        yield path
    finally:
        _remove(path)


def beside(target: Path, kind: Literal["tmp", "old"]) -> Path:
    """The path that only this process uses for a new (`tmp`) or replaced (`old`) `target`."""
    name = f".{target.name}.{kind}-{host_digest()}-{os.getpid()}-{PROCESS_TOKEN}"
    return target.parent / name


@cache
def host_digest() -> str:
    """The machine and container as 8 hex digits: in another one, process numbers mean nothing."""
    namespace = Path("/proc/self/ns/pid")
    name = f"{platform.node()} {namespace.readlink() if namespace.is_symlink() else ''}"
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def sweep_abandoned(target: Path) -> None:
    """Removes the temporary files of ended processes beside `target`, or restores it from them."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.*-*"):
        suffix = path.name[len(target.name) + 1 :]
        match = re.fullmatch(r"\.(tmp|old)-([0-9a-f]{8})-(\d+)-([0-9a-f]{8})", suffix)
        if match is None or not _is_abandoned(path, match[2], int(match[3]), match[4]):
            continue
        if match[1] == "old" and not target.exists():
            path.rename(target)
        else:
            _remove(path)


def _is_abandoned(path: Path, host: str, process: int, token: str) -> bool:
    if host == host_digest():
        return token != PROCESS_TOKEN if process == os.getpid() else not _is_running(process)
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_AFTER_S
    except OSError:  # removed meanwhile
        return False


def _is_running(process: int) -> bool:
    try:
        with suppress(PermissionError):  # it runs, as another user
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
