"""Which files of a folder are images: by extension, and by content where that says nothing."""

from collections.abc import Sequence
from pathlib import Path

from fgembed.errors import FgembedError, NotFoundError
from fgembed.images.kinds.extensions import extension, is_archive, unread_reason
from fgembed.images.kinds.formats import EXTENSIONS, NO_IMAGE
from fgembed.images.kinds.signatures import format_of, is_read, read_head
from fgembed.images.skipped import Skipped
from fgembed.images.walk import Scan, Walk
from fgembed.text import label


def find_images(root: Path, include_clutter: bool = False) -> tuple[list[Path], list[Skipped]]:
    """The images below `root` and what was left out; see `scan`."""
    listing = scan(root, include_clutter)
    return listing.paths, listing.skipped


def scan(root: Path, include_clutter: bool = False, *, may_be_empty: bool = False) -> Scan:
    """Every image below `root`, the pictures that are not read, and how many are clutter.

    Links to folders are followed; a folder that several links lead to is read once. `root` itself
    is read whatever its name is.

    Args:
        root: the folder.
        include_clutter: read also what `fgembed.images.kinds.clutter` would pass over.
        may_be_empty: give an empty scan where there is no picture.

    Raises:
        NotFoundError: `root` is no folder, cannot be read, or holds no picture.
    """
    if not root.is_dir():
        raise NotFoundError(f"no folder at {root}", "give a folder that holds photographs")
    walk = Walk(include_clutter)
    walk.read(root)
    walk.count_clutter()
    listing = walk.finished()
    if listing.skipped and listing.skipped[0].path == root:
        raise NotFoundError(
            f"cannot read folder {root}: {listing.skipped[0].reason}",
            "change its permissions, or give another folder",
        )
    if (
        not may_be_empty
        and not listing.paths
        and all(is_archive(bad.path.name) for bad in listing.skipped)
    ):
        raise _no_images(root, listing)
    return listing


def _no_images(root: Path, listing: Scan) -> NotFoundError:
    fact = f"no images in {root}"
    if listing.passed_over.images:
        return NotFoundError(f"{fact}: {listing.passed_over.sentence()}", "or give another folder")
    if listing.skipped:
        first = listing.skipped[0].path.name
        return NotFoundError(
            f"{fact}, but {len(listing.skipped)} archives, the first {first}",
            "unpack them, or give another folder",
        )
    return NotFoundError(
        fact,
        "give a folder with .jpg, .png, .heic or other images; if they are on a disk, mount it",
    )


def is_image_file(path: Path) -> bool:
    """Whether a file is an image that is read, by its extension, or by content without one."""
    ending = extension(path.name)
    if not path.is_file():
        return False
    if ending in EXTENSIONS or ending in NO_IMAGE or unread_reason(path.name) is not None:
        return ending in EXTENSIONS
    return is_read(format_of(read_head(path)))


def class_names(paths: Sequence[Path], root: Path) -> list[str]:
    """The label of each image: the first folder below `root` in its path, as `label` spells it.

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
    return [label(names[0]) for names in parts]
