"""Pictures become a segment: read, embedded by a bundle, with what is known of each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgembed.bundle import Bundle
from fgembed.disk.files import absolute
from fgembed.embedding.array_types import Vectors
from fgembed.errors import FgembedError
from fgembed.images.batches import check_bad, write_skipped
from fgembed.images.finding import EXTENSIONS, Skipped
from fgembed.images.sources import Listing, labels_of, list_images
from fgembed.index.changes.embedding_cache import Block, EmbeddingCache
from fgembed.index.format.manifest import SKIPPED_FILE, Segment
from fgembed.index.format.metadata_columns import sql_columns, sql_type, sql_value
from fgembed.index.format.metadata_table import BUILTIN_COLUMNS, Item
from fgembed.index.segments.segment_builder import IndexSettings, Part, Source, assemble
from fgembed.progress import ReportStep


@dataclass(frozen=True)
class Pictures:
    """Pictures to index: where they lie, and what is known of each beside its file."""

    listing: Listing
    root: Path

    @classmethod
    def of(cls, source: Path, roots: Sequence[Path] = ()) -> "Pictures":
        """A folder, whose first level of folders is a label; a manifest; a list; or one picture.

        Args:
            source: what to index.
            roots: folders of an index; what lies in one of them is named and labelled by it.

        Raises:
            NotFoundError: it is missing or empty.
            FgembedError: it cannot be understood, or holds tar files.
        """
        alone = source.is_file() and source.suffix.lower() in EXTENSIONS
        listing = Listing([source]) if alone else list_images([source])
        if not all(isinstance(picture, Path) for picture in listing.pictures):
            raise FgembedError(
                f"{source} is in tar files",
                'embed them with "fgembed embed", then build with --from-embeddings',
            )
        wrong = next((one for one in listing.pictures if "\0" in str(one)), None)
        if wrong is not None:
            raise FgembedError(
                f"{source} names a picture {str(wrong)!r}, which no file can be called"
            )
        paths = [absolute(str(picture)) for picture in listing.pictures]
        given = absolute(source) if source.is_dir() else _common(paths)
        root = next((one for one in roots if given.is_relative_to(one)), given)
        listing.pictures = list(paths)
        if source.is_dir() or alone:
            listing.columns = labels_of(paths, root)
        return cls(listing, root)

    def only(self, places: Sequence[int]) -> "Pictures":
        """Some of them."""
        columns = {name: [v[i] for i in places] for name, v in self.listing.columns.items()}
        some = [self.listing.pictures[place] for place in places]
        return Pictures(Listing(some, columns, self.listing.skipped), self.root)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [picture for picture in self.listing.pictures if isinstance(picture, Path)]


@dataclass(frozen=True)
class Allowed:
    """What may be unreadable: the share `max_bad` of the pictures and of the `others` there."""

    max_bad: float
    others: int = 0


@dataclass(frozen=True)
class EmbeddedPart:
    """A block as part of a segment."""

    block: Block
    pictures: list[Path]
    root: Path
    values: list[tuple[Any, ...]]
    first_id: int

    def vectors(self) -> Vectors:
        """(B, D) float32, mapped."""
        return self.block.vectors()

    def items(self) -> list[Item]:
        """B items with successive ids."""
        return [
            Item(
                self.first_id + number,
                self.pictures[file.position].relative_to(self.root).as_posix(),
                file.sha256,
                file.size,
                file.mtime_ns,
                self.values[file.position] if self.values else (),
            )
            for number, file in enumerate(self.block.files)
        ]


def embed_segment(
    folder: Path,
    pictures: Pictures,
    bundle: Bundle,
    settings: IndexSettings,
    first_id: int,
    allowed: Allowed,
    device: str,
    report: ReportStep,
) -> tuple[Segment | None, list[Skipped]]:
    """Embeds pictures into a new segment; what could not be read is listed in the index folder.

    Gives no segment where none of the pictures can be read and others are there.
    """
    paths = pictures.paths
    blocks = EmbeddingCache(folder, bundle).embed(
        paths, device, lambda done, total: report("embedding", done, total)
    )
    skipped = pictures.listing.skipped + [bad for block in blocks for bad in block.skipped]
    write_skipped(folder / SKIPPED_FILE, skipped)
    others = allowed.others + len(pictures.listing.skipped)
    check_bad(skipped, len(paths) + others, allowed.max_bad)
    columns, values = _columns(pictures.listing)
    parts: list[Part] = []
    count = 0
    for block in blocks:
        parts.append(EmbeddedPart(block, paths, pictures.root, values, first_id + count))
        count += len(block.files)
    if count == 0:
        return None, skipped
    source = Source(parts, count, bundle.config.dimensions, str(pictures.root), columns)
    return assemble(folder, source, settings, report), skipped


def _columns(listing: Listing) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """The metadata's columns with their types, and the row of each picture."""
    types = {name: sql_type(values) for name, values in listing.columns.items()}
    columns = [
        [sql_value(value, types[name]) for value in values]
        for name, values in listing.columns.items()
    ]
    names = sql_columns(listing.columns, BUILTIN_COLUMNS)
    return {names[name]: kind for name, kind in types.items()}, list(zip(*columns, strict=True))


def _common(paths: Sequence[Path]) -> Path:
    """The folder below which all of them lie."""
    return Path(os.path.commonpath([path.parent for path in paths]))
