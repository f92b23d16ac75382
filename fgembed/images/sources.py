"""Where the images to embed come from: folders, tar shards, manifests, and lists of files."""

import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fgembed.disk.text_files import at_home, decoded, lines_of
from fgembed.errors import FgembedError, ImageError, NotFoundError
from fgembed.images.finding import EXTENSIONS, find_images
from fgembed.images.manifests import csv_columns, parquet_columns
from fgembed.images.skipped import Skipped
from fgembed.images.table_header import PATH_COLUMNS

LABEL = "label"
MAX_MEMBER_BYTES = 1 << 28
SOURCE_REMEDY = (
    "give a folder of images, a .tar file, a .csv, .tsv or .parquet manifest, or a .txt list of "
    "paths"
)


@dataclass(frozen=True)
class TarMember:
    """An image inside an uncompressed tar file: `size` bytes at `offset`."""

    tar: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return str(self.tar / self.name)

    def open(self) -> BinaryIO:
        """The bytes of the image as a stream; thread-safe.

        Raises:
            ImageError: the tar file has become shorter, or cannot be read.
        """
        try:
            with self.tar.open("rb") as file:
                content = os.pread(file.fileno(), self.size, self.offset)
        except OSError as error:
            raise ImageError(str(self), error.strerror or "cannot be read") from None
        if len(content) < self.size:
            raise ImageError(str(self), f"{self.tar} ends before it")
        return io.BytesIO(content)


ImageFile = Path | TarMember


@dataclass
class Listing:
    """Images in a fixed order: the position of an image is its id.

    Attributes:
        images: files, or members of tar files.
        columns: the values of each manifest column, one per image; of a folder, `label` is the
            name of the first-level subfolder.
        skipped: files and folders that cannot be read or named; they have no position.
    """

    images: list[ImageFile] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def list_images(sources: Sequence[Path], lines: Iterable[str] = ()) -> Listing:
    """Every image of the sources, source by source.

    A source is a folder (its images, or if it has none its .tar files), a .tar file, a .csv, .tsv
    or .parquet manifest with one image a row, a .txt list with one path a line, or `-` for such a
    list from `lines`. Paths in a manifest or a list file are relative to its folder.

    Args:
        sources: what to read; several sources give no columns.
        lines: standard input.

    Raises:
        NotFoundError: a source is missing or empty.
        FgembedError: a manifest, a list or a tar file cannot be read.
    """
    if len(sources) == 1:
        listing = _list_source(sources[0], lines)
    else:
        listing = Listing()
        for source in sources:
            part = _list_source(source, lines)
            listing.images += part.images
            listing.skipped += part.skipped
    if not listing.images and not listing.skipped:
        raise NotFoundError(
            f"no images in {', '.join(map(str, sources)) or 'no source'}", SOURCE_REMEDY
        )
    return listing


def _list_source(source: Path, lines: Iterable[str]) -> Listing:
    extension = source.suffix.lower()
    if str(source) == "-":
        return _from_lines(lines, Path())
    if source.is_dir():
        return _from_folder(source)
    if not source.is_file():
        raise NotFoundError(f"no folder, manifest, list or tar file at {source}", SOURCE_REMEDY)
    if extension == ".tar":
        return _encodable(_tar_members(source))
    if extension == ".txt":
        lines = lines_of(decoded(source.read_bytes(), "surrogateescape"))
        return _from_lines(lines, source.parent)
    if extension in (".csv", ".tsv"):
        return _from_columns(csv_columns(source), source)
    if extension == ".parquet":
        return _from_columns(parquet_columns(source), source)
    raise FgembedError(f"{source} is no source of images that fgembed can read", SOURCE_REMEDY)


def _from_folder(folder: Path) -> Listing:
    tars = sorted(folder.glob("*.tar"))
    try:
        paths, skipped = find_images(folder)
    except NotFoundError:
        if not tars:
            raise
        paths, skipped = [], []
    if paths or not tars:
        return Listing(list(paths), labels_of(paths, folder), skipped)
    return _encodable([member for tar in tars for member in _tar_members(tar)])


def labels_of(paths: Sequence[Path], folder: Path) -> dict[str, list[Any]]:
    """The `label` column: the first-level subfolder of `folder` of each image; {} if it has none.

    Example:
        >>> labels_of([Path("birds/kiwi/1.jpg"), Path("birds/2.jpg")], Path("birds"))
        {'label': ['kiwi', None]}
    """
    parents = [path.relative_to(folder).parts[:-1] for path in paths]
    return {LABEL: [names[0] if names else None for names in parents]} if any(parents) else {}


def _from_lines(lines: Iterable[str], folder: Path) -> Listing:
    try:
        paths = [path for line in lines if (path := line.lstrip("\ufeff").rstrip("\r\n"))]
    except UnicodeDecodeError as error:
        raise FgembedError(
            f"the list on standard input is not UTF-8: {error}",
            "convert it, or save it as a .txt list, of which such lines are skipped",
        ) from None
    return _encodable([_located(path, folder) for path in paths])


def _located(path: str, folder: Path) -> Path:
    """A path that is relative to `folder`, or to the home folder if it begins with `~`."""
    relative = folder / path
    if not path.startswith("~") or os.path.lexists(relative):
        return relative
    return folder / at_home(path)


def _encodable(images: Sequence[ImageFile]) -> Listing:
    """The images, but those whose name cannot be written as UTF-8 are skipped."""
    listing = Listing()
    for image in images:
        try:
            str(image).encode()
        except UnicodeEncodeError:
            reason = "file name is not valid UTF-8"
            listing.skipped.append(Skipped(Path(str(image)), reason))
        else:
            listing.images.append(image)
    return listing


def _from_columns(columns: dict[str, list[Any]], source: Path) -> Listing:
    name = next((name for name in PATH_COLUMNS if name in columns), None)
    if name is None:
        raise FgembedError(
            f"{source} has none of the columns {', '.join(PATH_COLUMNS)}: "
            f"its columns are {', '.join(columns) or 'none'}",
            f"name the column with the paths of the images {PATH_COLUMNS[0]!r}",
        )
    paths = columns.pop(name)
    missing = next((row for row, path in enumerate(paths, start=1) if not path), None)
    if missing is not None:
        raise FgembedError(
            f"{source} names no image in row {missing} of column {name!r}",
            "add its path, or remove the row",
        )
    return Listing([_located(str(path), source.parent) for path in paths], columns)


def _tar_members(tar: Path) -> list[TarMember]:
    try:
        with tarfile.open(tar, "r:") as archive:
            return [
                TarMember(tar, member.name, member.offset_data, member.size)
                for member in archive
                if member.isreg()
                and not member.issparse()
                and member.size <= MAX_MEMBER_BYTES
                and Path(member.name).suffix.lower() in EXTENSIONS
            ]
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise FgembedError(
            f"{tar} cannot be read as an uncompressed tar file: {error}",
            f'make it again with "tar -cf {tar.name} FOLDER", or unpack it and give the folder',
        ) from None
