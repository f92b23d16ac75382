"""Run folders that are one process's own: a free name is taken in the same step as it is found.

A folder that holds no more than its lock and the lists of images is no run yet: a killed process
reserved it and wrote nothing that matters, so that the next one takes it over.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from fgembed.disk.locks import LOCK_FILE, sole_writer
from fgembed.disk.temporaries import sweep_abandoned, temporary
from fgembed.errors import FgembedError, InUseError
from fgembed.workspace import RUNS, RunFolder

TRIES = 20  # to lock a folder that others give up


@contextmanager
def new_run(method: str, name: str | None = None, folder: Path = Path()) -> Iterator[Path]:
    """A run folder that only this process writes; it is gone again if the run does not begin.

    Args:
        method: the folder becomes the first free `runs/<method>-<number>`.
        name: makes it `runs/<name>` instead.
        folder: that holds `runs`.

    Raises:
        InUseError: another process writes the run of this name.
        FgembedError: the run of this name exists.
    """
    with ExitStack() as stack:
        yield _named(stack, folder / RUNS / name) if name else _numbered(stack, folder, method)


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Within the block only this process writes a run folder, new or not.

    Raises:
        InUseError: another process writes it.
        FgembedError: it holds something else.
    """
    is_first = not run.parent.exists()
    with ExitStack() as stack:
        is_empty = _lock(stack, run)
        try:
            yield
        finally:
            if is_free(run) and not is_empty:
                _discard(run, is_first)


def _lock(stack: ExitStack, run: Path) -> bool:
    """Locks the folder; says whether it was there and empty, so that it is not ours to remove."""
    for tries_left in reversed(range(TRIES)):
        try:
            is_empty = run.is_dir() and not any(run.iterdir())
            if not (is_free(run) or is_empty or RunFolder(run).config.is_file()):
                raise FgembedError(f"{run} exists and is no run", "give another folder")
            if not os.path.lexists(run):
                _make(run)
            stack.enter_context(sole_writer(run))
        except FileNotFoundError:  # another process has given it up meanwhile
            if not tries_left:
                raise
        else:
            return is_empty
    raise AssertionError  # invariant: the last try returns or raises


def is_free(run: Path) -> bool:
    """Whether a run folder is missing, or holds no more than a run that has not begun."""
    if not os.path.lexists(run):
        return True
    try:
        names = [path.name for path in run.iterdir()] if run.is_dir() else []
    except FileNotFoundError:  # given up meanwhile
        return True
    return bool(names) and all(_is_unfinished(name, RunFolder(run)) for name in names)


def check_free(run: Path) -> None:
    """Refuses a folder that is taken.

    Raises:
        FgembedError: it is.
    """
    if not is_free(run):
        raise FgembedError(f"{run} exists", "resume it with --resume, or give another --run NAME")


def _is_unfinished(name: str, run: RunFolder) -> bool:
    written = (run.skipped.name, run.images.name, run.config.name)  # in this order
    is_temporary = any(name.startswith(f".{file}.tmp-") for file in written)
    return name in (LOCK_FILE, *written[:2]) or is_temporary


def _named(stack: ExitStack, run: Path) -> Path:
    check_free(run)
    stack.enter_context(claimed(run))
    check_free(run)
    return run


def _numbered(stack: ExitStack, folder: Path, method: str) -> Path:
    for number in count(1):
        run = folder / RUNS / f"{method}-{number}"
        if not is_free(run):
            continue
        with suppress(InUseError), ExitStack() as attempt:
            attempt.enter_context(claimed(run))
            if is_free(run):  # nobody has begun it and left meanwhile
                stack.push(attempt.pop_all())
                return run
    raise AssertionError  # invariant: `count` does not end


def _make(run: Path) -> None:
    """Makes the folder with the lock file in it, at once: one that is empty is the user's own."""
    run.parent.mkdir(parents=True, exist_ok=True)
    sweep_abandoned(run)
    with temporary(run) as new:
        new.mkdir()
        (new / LOCK_FILE).touch()
        try:
            new.rename(run)
        except OSError as error:  # if another process was first, the lock decides
            if not run.is_dir() and error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _discard(run: Path, is_first: bool) -> None:
    with suppress(OSError), temporary(run) as gone:
        run.rename(gone)
    if is_first:
        with suppress(OSError):  # another run lies there
            run.parent.rmdir()
