"""Run folders that are one process's own: a free name is taken in the same step as it is found.

A folder that holds no more than its lock and the lists of images is no run yet: a killed process
reserved it and wrote nothing that matters, so that the next one takes it over.
"""

import errno
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
def claimed(run: Path, is_new: bool = False) -> Iterator[None]:
    """Within the block only this process writes a run folder, new or not.

    Args:
        run: the folder.
        is_new: its name was free. If it is empty now, another process is making or leaving it;
            otherwise an empty folder is the user's own and stays.

    Raises:
        InUseError: another process writes it.
        FgembedError: it holds something else.
    """
    is_first = not run.parent.exists()
    with ExitStack() as stack:
        is_the_users = _lock(stack, run) and not is_new
        try:
            yield
        finally:
            if is_free(run) and not is_the_users:
                _discard(run, is_first)


def _lock(stack: ExitStack, run: Path) -> bool:
    """Locks the folder; says whether it was there and empty."""
    for tries_left in reversed(range(TRIES)):
        try:
            names = _names(run)
            if names and not (_is_unbegun(names, run) or RunFolder(run).config.name in names):
                raise FgembedError(f"{run} exists and is no run", "give another folder")
            if names is None:
                _make(run)
            stack.enter_context(sole_writer(run))
        except (FileNotFoundError, FileExistsError):
            # Another process has given it up meanwhile; gone in the midst of a mkdir, it "exists".
            if not tries_left:
                raise
        else:
            return names == []
    raise AssertionError  # invariant: the last try returns or raises


def is_free(run: Path) -> bool:
    """Whether a run folder is missing, or holds no more than a run that has not begun."""
    names = _names(run)
    return names is None or _is_unbegun(names, run)


def _names(run: Path) -> list[str] | None:
    """What the folder holds, in one look: others may change it. None if there is none."""
    try:
        return [path.name for path in run.iterdir()]
    except NotADirectoryError:
        return [""]
    except FileNotFoundError:
        return [""] if run.is_symlink() else None


def _is_unbegun(names: list[str], run: Path) -> bool:
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
    stack.enter_context(claimed(run, is_new=True))
    check_free(run)
    return run


def _numbered(stack: ExitStack, folder: Path, method: str) -> Path:
    for number in count(1):
        run = folder / RUNS / f"{method}-{number}"
        if not is_free(run):
            continue
        with suppress(InUseError), ExitStack() as attempt:
            attempt.enter_context(claimed(run, is_new=True))
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
