"""Temporary files beside their target: named after their process, swept when it is gone."""

import glob
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

ABANDONED_AFTER = 86_400  # seconds, of what a process elsewhere began
_IN_USE: set[Path] = set()  # by this process, whose number an earlier one may have had


@contextmanager
def in_use(temporary: Path) -> Iterator[None]:
    """Within the block this process's own temporary file or folder is not swept."""
    _IN_USE.add(temporary)
    try:
        yield
    finally:
        _IN_USE.discard(temporary)


def beside(target: Path, kind: str) -> Path:
    """A name of this process's own beside `target`; `kind` is `tmp` or `old`."""
    return target.parent / f".{target.name}.{kind}-{_host()}-{os.getpid()}"


@cache
def _host() -> str:
    """The machine and container: elsewhere the numbers of processes mean nothing."""
    space = Path("/proc/self/ns/pid")
    name = f"{platform.node()} {space.readlink() if space.is_symlink() else ''}"
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def sweep_abandoned(target: Path) -> None:
    """Removes or restores what killed processes left beside `target`."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*-*"):
        found = re.fullmatch(r"\.(tmp|old)-([0-9a-f]{8})-(\d+)", left.name[len(target.name) + 1 :])
        if found is None or not _is_abandoned(left, found[2], int(found[3])):
            continue
        if found[1] == "old" and not target.exists():
            left.rename(target)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_abandoned(left: Path, host: str, process: int) -> bool:
    if host == _host():
        return left not in _IN_USE if process == os.getpid() else not _is_running(process)
    try:
        return time.time() - left.stat().st_mtime > ABANDONED_AFTER
    except OSError:  # gone meanwhile
        return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
