"""Which files are images: walks folders, and says what cannot be looked at."""

from dataclasses import dataclass
from pathlib import Path

from fgembed.errors import FgembedError, NotFoundError

EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


@dataclass(frozen=True)
class Skipped:
    """A picture that is left out, and why."""

    path: Path
    reason: str


def find_images(root: Path) -> tuple[list[Path], list[Skipped]]:
    """Every picture below `root` by file extension, sorted; and what could not be looked at.

    Links to folders are followed, each folder once.

    Raises:
        NotFoundError: `root` is no folder, cannot be read, or holds nothing named as a picture.
    """
    if not root.is_dir():
        raise NotFoundError(f"no folder at {root}", "give a folder that holds photographs")
    found: list[Path] = []
    skipped: list[Skipped] = []
    _walk(root, found, skipped)
    if skipped and skipped[0].path == root:
        raise NotFoundError(f"cannot read folder {root}: {skipped[0].reason}")
    if not found and not skipped:
        raise NotFoundError(
            f"no pictures in {root}", f"expected files named {', '.join(sorted(EXTENSIONS))}"
        )
    return sorted(found), skipped


def _walk(root: Path, found: list[Path], skipped: list[Skipped]) -> None:
    pending, seen = [root], set()
    while pending:
        folder = pending.pop()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(folder.iterdir(), reverse=True)
            folders = [path for path in entries if path.is_dir()]
        except OSError as error:
            skipped.append(Skipped(folder, error.strerror or "cannot be read"))
            continue
        pending += folders
        for path in entries:
            if path.suffix.lower() in EXTENSIONS and path not in folders:
                _add(path, found, skipped)


def _add(path: Path, found: list[Path], skipped: list[Skipped]) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        skipped.append(Skipped(path, "file name is not valid UTF-8"))
    else:
        found.append(path)


def class_names(paths: list[Path], root: Path) -> list[str]:
    """Each picture's label: the first folder below `root` on its way.

    Raises:
        FgembedError: a picture lies directly in `root`, so it has no class folder.
    """
    parts = [path.relative_to(root).parts for path in paths]
    for path, names in zip(paths, parts, strict=True):
        if len(names) < 2:
            raise FgembedError(
                f"{path} is in no class folder", f"expected {root}/<class>/{path.name}"
            )
    return [names[0] for names in parts]
