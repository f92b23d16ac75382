"""Embeds the images of a source with a bundle and writes them as a segment."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fgembed.bundle import Bundle
from fgembed.disk.files import absolute
from fgembed.disk.spelling import on_disk
from fgembed.embedding.array_types import Vectors
from fgembed.errors import FgembedError
from fgembed.images.finding import is_image_file
from fgembed.images.skipped import Skipped, check_bad, write_skipped
from fgembed.images.sources import Listing, labels_of, list_images
from fgembed.index.changes.embedding_cache import Block, EmbeddingCache
from fgembed.index.format.manifest import SKIPPED_FILE, Segment
from fgembed.index.format.metadata_columns import check_row, sql_columns, sql_type, sql_value
from fgembed.index.format.metadata_table import BUILTIN_COLUMNS, Item
from fgembed.index.library.indexed_folders import IndexedFolders
from fgembed.index.segments.segment_builder import IndexSettings, Part, Source, assemble
from fgembed.progress import ReportStep


@dataclass(frozen=True)
class SourceImages:
    """Images to index, or to search with.

    Attributes:
        listing: their files, metadata columns, and what could not be listed.
        root: the folder that the items' paths become relative to, absolute.
        folder_labels: whether the column `label` comes from folders, not from a manifest.
    """

    listing: Listing
    root: Path
    folder_labels: bool = False

    @classmethod
    def of(
        cls,
        source: Path,
        roots: Sequence[Path] = (),
        folders: IndexedFolders | None = None,
        *,
        include_clutter: bool = False,
    ) -> "SourceImages":
        """Lists a folder, a manifest, a list file, or a single image.

        The folders on the first level below a root become the column `label`.

        Args:
            source: what to list.
            roots: root folders of an index; the first that holds the source becomes its root.
            folders: those of an index, whose spelling the paths take.
            include_clutter: list also what systems and programs left in a folder.

        Raises:
            NotFoundError: the source is missing or empty.
            FgembedError: it cannot be parsed, or its images lie in tar files.
        """
        source = on_disk(source)
        single = is_image_file(source)
        listing = (
            Listing([source]) if single else list_images([source], include_clutter=include_clutter)
        )
        if not all(isinstance(image, Path) for image in listing.images):
            raise FgembedError(
                f"the images of {source} lie in tar files, expected image files",
                'unpack them, or index the folder that "fgembed embed" makes by --from-embeddings',
            )
        invalid = next((path for path in listing.images if "\0" in str(path)), None)
        if invalid is not None:
            raise FgembedError(
                f"{source} names an image {str(invalid)!r}, expected a path without null bytes",
                "correct or remove that row",
            )
        paths = _absolute_paths(source, listing)
        if folders is not None:
            paths = [folders.spelled(path) for path in paths]
        folder = absolute(source) if source.is_dir() else _common_folder(paths or [source])
        if folders is not None and source.is_dir():
            folder = folders.folder(folder)
            if not all(path.is_relative_to(folder) for path in paths):
                folder = _common_folder([folder / "x", *paths])  # links lead out of the source
        root = next((root for root in roots if folder.is_relative_to(root)), folder)
        listing.images = list(paths)
        listing.skipped = [replace(bad, path=absolute(bad.path)) for bad in listing.skipped]
        folder_labels = source.is_dir() or single
        if folder_labels:
            listing.columns = labels_of(paths, root)
        return cls(listing, root, folder_labels)

    def only(self, rows: Sequence[int]) -> "SourceImages":
        """The images at these rows of the listing, with their metadata."""
        columns = {name: [v[i] for i in rows] for name, v in self.listing.columns.items()}
        selected = [self.listing.images[row] for row in rows]
        return replace(self, listing=replace(self.listing, images=selected, columns=columns))

    @property
    def paths(self) -> list[Path]:
        """The image files, absolute."""
        return [image for image in self.listing.images if isinstance(image, Path)]


@dataclass(frozen=True)
class BadImageLimit:
    """How many of a source's images may be unreadable.

    Attributes:
        max_bad: share in [0, 1].
        unchanged: images of the source that need no embedding and count as readable.
    """

    max_bad: float
    unchanged: int = 0


@dataclass(frozen=True)
class EmbeddedPart:
    """B embedded images as part of a segment.

    Attributes:
        block: their vectors and files.
        images: all images of the source; the positions of the block's files count in it.
        root: the folder that the items' paths become relative to.
        values: the metadata row of each of `images`, or none at all.
        first_id: of the block's first item.
    """

    block: Block
    images: list[Path]
    root: Path
    values: list[tuple[Any, ...]]
    first_id: int

    def vectors(self) -> Vectors:
        """(B, D) float32, memory-mapped."""
        return self.block.vectors()

    def items(self) -> list[Item]:
        """B items with consecutive ids."""
        return [
            Item(
                id=id_,
                path=self.images[file.position].relative_to(self.root).as_posix(),
                sha256=file.sha256,
                size=file.size,
                mtime_ns=file.mtime_ns,
                ctime_ns=file.ctime_ns,
                values=self.values[file.position] if self.values else (),
            )
            for id_, file in enumerate(self.block.files, start=self.first_id)
        ]


def embed_segment(
    folder: Path,
    images: SourceImages,
    bundle: Bundle,
    settings: IndexSettings,
    first_id: int,
    limit: BadImageLimit,
    device: str,
    report: ReportStep,
) -> tuple[Segment | None, list[Skipped]]:
    """Embeds images into a new segment; skipped.jsonl lists those that cannot be read.

    Gives the segment and the unreadable images. The segment is None if no image can be read and
    unchanged images keep the source within the limit.

    Raises:
        BadImagesError: more images cannot be read than the limit allows.
        ConfigError: the index kind cannot be built, or not within the memory.
        OSError: the segment cannot be written, as on a full disk.
    """
    paths = images.paths
    columns, values = _metadata(images.listing)  # before the work: a fault in it is to show now
    blocks = EmbeddingCache(folder, bundle).embed(
        paths, device, lambda done, total: report("embedding", done, total)
    )
    skipped = images.listing.skipped + [bad for block in blocks for bad in block.skipped]
    write_skipped(folder / SKIPPED_FILE, skipped)
    total = len(paths) + len(images.listing.skipped) + limit.unchanged
    check_bad(skipped, total, limit.max_bad)
    count = sum(len(block.files) for block in blocks)
    if count == 0:
        return None, skipped
    parts: list[Part] = []
    for block in blocks:
        part = EmbeddedPart(
            block=block, images=paths, root=images.root, values=values, first_id=first_id
        )
        parts.append(part)
        first_id += len(block.files)
    source = Source(
        parts=parts,
        count=count,
        dimensions=bundle.config.dimensions,
        root=str(images.root),
        columns=columns,
    )
    return assemble(folder, source, settings, report), skipped


def _metadata(listing: Listing) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """The metadata columns with their SQL types, and the row of each image."""
    types = {name: sql_type(values) for name, values in listing.columns.items()}
    columns = [
        [sql_value(value, types[name]) for value in values]
        for name, values in listing.columns.items()
    ]
    names = sql_columns(listing.columns, BUILTIN_COLUMNS)
    rows = list(zip(*columns, strict=True))
    for image, row in zip(listing.images, rows, strict=False):
        check_row(row, str(image))
    return {names[name]: kind for name, kind in types.items()}, rows


def _absolute_paths(source: Path, listing: Listing) -> list[Path]:
    """The listed files from the root of the file system."""
    if source.is_dir() and source == absolute(source):  # and then so are they
        return [image for image in listing.images if isinstance(image, Path)]
    paths = [absolute(str(image)) for image in listing.images]
    return paths if source.is_dir() else [on_disk(path) for path in paths]


def _common_folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds all paths, absolute."""
    return absolute(os.path.commonpath([path.parent for path in paths]) or ".")
