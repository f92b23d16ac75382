"""Which files of a folder are images, by file extension."""

from collections.abc import Iterator
from pathlib import Path

from fgembed.errors import FgembedError, NotFoundError
from fgembed.images.skipped import Skipped

EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


def find_images(root: Path) -> tuple[list[Path], list[Skipped]]:
    """Every image below `root` by file extension, sorted; and the files and folders left out.

    Links to folders are followed; a folder that several links lead to is read once.

    Raises:
        NotFoundError: `root` is no folder, cannot be read, or holds no file named like an image.
    """
    if not root.is_dir():
        raise NotFoundError(f"no folder at {root}", "give a folder that holds photographs")
    paths: list[Path] = []
    skipped: list[Skipped] = []
    for entry in _walk(root):
        skipped.append(entry) if isinstance(entry, Skipped) else paths.append(entry)
    if skipped and skipped[0].path == root:
        raise NotFoundError(
            f"cannot read folder {root}: {skipped[0].reason}",
            "change its permissions, or give another folder",
        )
    if not paths and not skipped:
        raise NotFoundError(
            f"no images in {root}", f"give a folder with {', '.join(sorted(EXTENSIONS))} files"
        )
    return sorted(paths), skipped


def _walk(root: Path) -> Iterator[Path | Skipped]:
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
            yield Skipped(folder, error.strerror or "cannot be read")
            continue
        pending += folders
        images = (path for path in entries if path.suffix.lower() in EXTENSIONS)
        yield from (_checked(path) for path in images if path not in folders)


def _checked(path: Path) -> Path | Skipped:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return Skipped(path, "file name is not valid UTF-8")
    return path


def class_names(paths: list[Path], root: Path) -> list[str]:
    """The label of each image: the first folder below `root` in its path.

    Raises:
        FgembedError: an image lies directly in `root`, so it has no class folder.

    Example:
        >>> class_names([Path("birds/kiwi/1.jpg"), Path("birds/emu/2.jpg")], Path("birds"))
        ['kiwi', 'emu']
    """
    parts = [path.relative_to(root).parts for path in paths]
    for path, names in zip(paths, parts, strict=True):
        if len(names) < 2:
            raise FgembedError(
                f"{path} is in no class folder", f"move it to {root}/<class>/{path.name}"
            )
    return [names[0] for names in parts]
