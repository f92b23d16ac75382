"""What `add` would do to an index: which images it adds, replaces, moves, removes and keeps."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fgembed.disk.file_state import is_gone
from fgembed.disk.files import absolute
from fgembed.disk.spelling import on_disk
from fgembed.errors import ConfigError, NotFoundError
from fgembed.images.sources import Listing
from fgembed.index.changes.embed_images import SourceImages
from fgembed.index.library.comparison import Comparison, compare
from fgembed.index.library.distinct_images import Repeated, distinct
from fgembed.index.library.indexed_folders import IndexedFolders
from fgembed.index.library.indexed_images import IndexedImage, indexed_images, is_below
from fgembed.index.library.lost_folders import LostFolder, lost_folders
from fgembed.index.search.open_index import IndexedVectors
from fgembed.progress import ReportStep, silent
from fgembed.text import composed


@dataclass(frozen=True)
class Sync:
    """That an index is to follow a folder: images without a file are removed.

    Attributes:
        gone: folders of which the user says that their missing images are gone.
    """

    gone: Sequence[Path] = ()


@dataclass(frozen=True)
class AddPlan:
    """What a change of an index would do.

    Attributes:
        images: of the source, each file once.
        indexed: the images of the index by path.
        comparison: of both; its rows are those of `images`.
        removed: indexed paths whose files are gone.
        kept: folders whose missing images stay.
        repeated: paths of the source that name a file again.
    """

    images: SourceImages
    indexed: dict[str, list[IndexedImage]]
    comparison: Comparison
    removed: list[str]
    kept: list[LostFolder]
    repeated: list[Repeated]

    @property
    def to_embed(self) -> list[int]:
        """Rows of the images that are new or changed, rising."""
        return sorted((*self.comparison.new, *self.comparison.changed))

    @property
    def superseded(self) -> list[str]:
        """The paths of images whose place a moved image takes: they are removed as well."""
        ids = set(self.comparison.superseded)
        return [name for name, images in self.indexed.items() if any(i.id in ids for i in images)]

    def replaced_ids(self, unreadable: Set[str] = frozenset()) -> list[int]:
        """The ids of changed images, but for those that did not become `unreadable` paths."""
        moved = {move.image.id for move in self.comparison.moves}
        names = [str(self.images.paths[row]) for row in self.comparison.changed]
        images = [i for name in names if name not in unreadable for i in self.indexed[name]]
        return [image.id for image in images if image.id not in moved]

    @classmethod
    def of(
        cls,
        vectors: IndexedVectors,
        source: Path,
        *,
        sync: Sync | None = None,
        checksums: bool = False,
        include_clutter: bool = False,
        report: ReportStep = silent,
    ) -> Self:
        """Compares a source with an open index.

        Args:
            vectors: the index.
            source: a folder, manifest, list or image.
            sync: also remove the indexed images below the folder `source` that have no file.
            checksums: read every file, also where size and times are unchanged.
            include_clutter: list also what systems and programs left among the images.
            report: receives the stage, how many files are read, and of how many.

        Raises:
            NotFoundError: the source is missing or empty; or, with `sync`, so many images below it
                are missing that it looks out of reach as a whole.
            ConfigError: a folder that is said to be gone is not below the source.
        """
        indexed = indexed_images(vectors)
        folders = IndexedFolders(indexed, vectors.manifest.roots)
        folder = str(folders.folder(absolute(on_disk(source))))
        try:
            images = SourceImages.of(
                source, roots_of(vectors), folders, include_clutter=include_clutter
            )
        except NotFoundError:  # an empty folder may be one that is not mounted
            if sync is None or not any(is_below(name, folder) for name in indexed):
                raise
            images = SourceImages(Listing(), Path(folder), folder_labels=True)
        columns = {} if images.folder_labels else images.listing.columns
        listed = distinct(images.paths, columns, indexed)
        images = images.only(listed.rows)
        comparison = compare(
            images.paths, listed.states, indexed, checksums=checksums, report=report
        )
        removed, kept = list[str](), list[LostFolder]()
        if sync is not None:
            gone = _confirmed(sync.gone, folder, folders)
            removed, kept = _missing(indexed, images, comparison, folder, gone)
        return cls(
            images=images,
            indexed=indexed,
            comparison=comparison,
            removed=removed,
            kept=kept,
            repeated=listed.repeated,
        )


def roots_of(vectors: IndexedVectors) -> list[Path]:
    """The root folders of the indexed images, the deepest first."""
    return sorted(map(Path, vectors.manifest.roots), key=lambda root: -len(root.parts))


def _confirmed(gone: Sequence[Path], source: str, folders: IndexedFolders) -> list[str]:
    confirmed = [str(folders.folder(absolute(path))) for path in gone]
    for path, folder in zip(gone, confirmed, strict=True):
        if not is_below(composed(folder), composed(source)):
            raise ConfigError(
                f"--gone {str(path)!r} is not in {source}", "give a folder that --sync DIR holds"
            )
    return [composed(folder) for folder in confirmed]


def _missing(
    indexed: dict[str, list[IndexedImage]],
    images: SourceImages,
    comparison: Comparison,
    source: str,
    gone: Sequence[str],
) -> tuple[list[str], list[LostFolder]]:
    """The images below the source that were removed, and the folders that are rather lost."""
    present = {str(path) for path in images.paths}
    moved = {move.image.path for move in comparison.moves}
    below = [name for name in indexed if is_below(name, source)]
    missing: list[str] = []
    closed: dict[tuple[str, str], list[str]] = {}
    for name in below:
        try:
            if name not in present and name not in moved and is_gone(name):
                missing.append(name)
        except OSError as error:
            reason = f"cannot be read: {error.strerror}"
            closed.setdefault((str(Path(name).parent), reason), []).append(name)
    said = {name for name in missing if any(is_below(composed(name), folder) for folder in gone)}
    asked = [name for name in below if name not in said]
    unsaid = [name for name in missing if name not in said]
    lost = lost_folders(source, asked, unsaid, present)
    kept = {name for folder in lost for name in folder.names}
    elsewhere = sum(name in moved and name not in present for name in asked)
    if kept and len(kept) + elsewhere == len(asked):
        raise NotFoundError(
            f"none of the {len(asked)} indexed images below {source} is at its path any more",
            'mount or restore the folder, say where it is now with "fgembed index relocate", or '
            f"confirm that they are gone with --gone {source}",
        )
    lost += [
        LostFolder(folder, names, len(names), reason) for (folder, reason), names in closed.items()
    ]
    return [name for name in missing if name not in kept], lost
