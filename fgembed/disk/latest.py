"""The latest run: a link named `latest`, or a file with its name where a disk has no links."""

import os
import stat
from pathlib import Path

from fgembed.disk.files import atomic_write
from fgembed.disk.temporaries import temporary
from fgembed.errors import FgembedError, NotFoundError

LATEST_NAME = "latest"


def set_latest(run: Path) -> None:
    """Makes `latest` beside the run's folder a link to it, or a file where a disk has no links.

    Raises:
        FgembedError: `latest` is a folder.
    """
    link = run.with_name(LATEST_NAME)
    check_latest(link)
    with temporary(link) as new:
        try:
            new.symlink_to(run.name)
        except (OSError, NotImplementedError):
            with atomic_write(link) as file:
                file.write(os.fsencode(run.name) + b"\n")
        else:
            new.replace(link)


def check_latest(link: Path) -> None:
    """Refuses a `latest` that cannot be replaced.

    Raises:
        FgembedError: it is a folder, as after a copy that follows links.
    """
    # Asked once, since other processes may be replacing it.
    if os.path.lexists(link) and stat.S_ISDIR(link.lstat().st_mode):
        raise FgembedError(
            f"{link} is a folder, expected a link to the latest run", "give it another name"
        )


def followed(path: Path) -> Path:
    """The run that a file `latest` names; any other path as it is."""
    if path.name != LATEST_NAME or not path.is_file():
        return path
    try:
        with path.open("rb") as file:
            name = os.fsdecode(file.read(4096)).strip("\r\n")
    except IsADirectoryError:  # it has just become a link
        return path
    if not name or name in (".", "..") or Path(name).name != name or "\0" in name:
        raise NotFoundError(
            f"{path} does not name a run", "give the run, as runs/NAME, or remove that file"
        )
    return path.with_name(name)
