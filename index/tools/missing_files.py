"""How many images of an index have no file any more, and how many have another content."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from fgembed.cores import core_count
from fgembed.disk.file_state import is_gone
from fgembed.disk.files import sha256
from fgembed.errors import FgembedError
from fgembed.images.batches import prefetch
from fgembed.index.format.manifest import ITEMS_FILE, Manifest
from fgembed.index.format.metadata_table import open_items, paths_at_every
from fgembed.index.library.indexed_images import IndexedImage
from fgembed.index.search.hits import MISSING_REMEDY
from fgembed.index.search.open_index import removed_ids
from fgembed.progress import ReportCount, silent

WINDOW = 64  # files that are read ahead


@dataclass(frozen=True)
class MissingFiles:
    """The images without a file among those that were looked for.

    Attributes:
        looked_for: how many files, at most the limit.
        missing: their paths.
    """

    looked_for: int = 0
    missing: list[str] = field(default_factory=list)

    def described(self) -> str:
        """The finding and what to do, in one line; empty if nothing is missing."""
        if not self.missing:
            return ""
        count = f"{len(self.missing)} of {self.looked_for} image files looked for are missing"
        return f"{count}, the first: {self.missing[0]}; {MISSING_REMEDY}"


@dataclass
class ComparedFiles:
    """Image files whose content was compared with what was indexed.

    Attributes:
        count: how many could be read.
        changed: the paths of those with other content.
        unread: the paths of those that cannot be read, though they are there.
    """

    count: int = 0
    changed: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def missing_files(paths: Sequence[str]) -> MissingFiles:
    """Looks for the files of these images."""
    return MissingFiles(len(paths), [path for path in paths if _is_missing(path)])


def missing_files_of(folder: Path, manifest: Manifest, limit: int) -> MissingFiles:
    """Looks for about `limit` files of an index on disk, evenly spread.

    Nothing of the index but its tables is read; of a damaged one, no file is looked for.
    """
    step = max(1, -(-manifest.count // limit))
    paths: list[str] = []
    try:
        removed = set(removed_ids(folder, manifest.removed).tolist())
        for segment in manifest.segments:
            with closing(open_items(folder / segment.name / ITEMS_FILE)) as connection:
                rows = paths_at_every(connection, step)
                paths += [str(Path(segment.root, name)) for id_, name in rows if id_ not in removed]
    except (FgembedError, OSError):
        return MissingFiles()  # "fgembed index verify" says what is wrong
    return missing_files(paths)


def _is_missing(path: str) -> bool:
    try:
        return is_gone(path)
    except (OSError, ValueError):
        return False  # out of reach is not gone


def compare_files(images: Sequence[IndexedImage], report: ReportCount = silent) -> ComparedFiles:
    """Reads the file of every image and compares it with what was indexed; missing ones are out."""
    comparable = [image for image in images if image.sha256 is not None]
    compared = ComparedFiles()
    sums = prefetch(_sha256, (image.path for image in comparable), core_count(), WINDOW)
    for done, (image, checksum) in enumerate(zip(comparable, sums, strict=True), start=1):
        compared.count += checksum is not None
        if checksum is None and not _is_missing(image.path):
            compared.unread.append(image.path)
        elif checksum not in (None, image.sha256):
            compared.changed.append(image.path)
        report(done, len(comparable))
    return compared


def _sha256(path: str) -> str | None:
    try:
        return sha256(Path(path))
    except (OSError, ValueError):
        return None
