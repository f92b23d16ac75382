"""Commands and snippets as real processes of their own."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Outcome

# A disk without links, and one that cannot flush folders, as exFAT and SMB shares answer.
NO_LINKS = """
import errno, os
def refused(*a, **k): raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(a[0]))
os.symlink = refused
"""
NO_FLUSH = """
import errno, os, stat
flush = os.fsync
def unless_folder(descriptor):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise OSError(errno.{name}, os.strerror(errno.{name}))
    flush(descriptor)
os.fsync = unless_folder
"""
NO_LOCKS = """
import errno, fcntl, os
def refused(*a): raise OSError(errno.{name}, os.strerror(errno.{name}))
fcntl.flock = refused
"""


def python(code: str, *arguments: object, folder: Path | None = None) -> "subprocess.Popen[str]":
    """A process that runs the code."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


def started(folder: Path, *arguments: object, on: str = "") -> "subprocess.Popen[str]":
    """A command in a folder; `on` is a snippet that makes the machine another."""
    return python(f"{on}\nfrom fgembed.cli.main import run; run()", *arguments, folder=folder)


def ended(process: "subprocess.Popen[str]") -> Outcome:
    """What a process printed, and its exit code."""
    out, err = process.communicate(timeout=300)
    return Outcome(process.returncode, out, err)


def wait_until(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Returns when something has happened; fails when the process ends before it."""
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill(process: "subprocess.Popen[str]") -> None:
    """Kills a process at once; those that it forked live on."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        assert stream is not None
        stream.close()
