"""Where pictures to embed come from: folders, tar shards, manifests, and lists of files."""

import csv
import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fgembed.disk.parquet import require_pyarrow
from fgembed.errors import FgembedError, ImageError, NotFoundError
from fgembed.images.finding import EXTENSIONS, Skipped, find_images

PATH_COLUMNS = ("image_path", "path", "filename")  # of a manifest, the first that it has
LABEL = "label"
MAX_MEMBER_BYTES = 1 << 28


@dataclass(frozen=True)
class TarMember:
    """A picture inside an uncompressed tar file: `size` bytes at `offset`."""

    tar: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return str(self.tar / self.name)

    def open(self) -> BinaryIO:
        """Its bytes as a stream; safe in several threads.

        Raises:
            ImageError: the file has become shorter, or cannot be read.
        """
        try:
            with self.tar.open("rb") as file:
                content = os.pread(file.fileno(), self.size, self.offset)
        except OSError as error:
            raise ImageError(str(self), error.strerror or "cannot be read") from None
        if len(content) < self.size:
            raise ImageError(str(self), f"{self.tar} ends before it")
        return io.BytesIO(content)


Picture = Path | TarMember


@dataclass
class Listing:
    """Pictures in a fixed order: the place of each is its id.

    Attributes:
        pictures: files, or members of tar files.
        columns: what a manifest says of each picture, by column; of a folder its first level of
            folders as `label`.
        skipped: what was found and could not be looked at; it has no place.
    """

    pictures: list[Picture] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def list_images(sources: Sequence[Path], lines: Iterable[str] = ()) -> Listing:
    """Every picture of the sources, source by source.

    A source is a folder (its pictures, or where it has none its .tar files), a .tar file, a .csv,
    .tsv or .parquet manifest with one picture a row, a .txt list with one path a line, or `-`
    for such a list from `lines`. Paths in a manifest or a list file are relative to its folder.

    Args:
        sources: what to read; only one on its own has columns.
        lines: standard input.

    Raises:
        NotFoundError: a source is missing or empty.
        FgembedError: a manifest or a tar file cannot be understood.
    """
    listing = Listing()
    for source in sources:
        found = _read_source(source, lines)
        listing.pictures += found.pictures
        listing.skipped += found.skipped
        listing.columns = found.columns if len(sources) == 1 else {}
    if not listing.pictures and not listing.skipped:
        raise NotFoundError(f"no pictures in {', '.join(map(str, sources)) or 'nothing'}")
    return listing


def _read_source(source: Path, lines: Iterable[str]) -> Listing:
    kind = source.suffix.lower()
    if str(source) == "-":
        return _from_lines(lines, Path())
    if source.is_dir():
        return _from_folder(source)
    if not source.is_file():
        raise NotFoundError(f"no folder, manifest, list or tar file at {source}")
    if kind == ".tar":
        return _named(_tar_members(source))
    if kind == ".txt":
        return _from_lines(source.read_text("utf-8", "surrogateescape").split("\n"), source.parent)
    if kind in (".csv", ".tsv"):
        return _from_columns(_csv_columns(source), source)
    if kind == ".parquet":
        return _from_columns(_parquet_columns(source), source)
    raise FgembedError(
        f"{source} is none of: a folder, .tar, .csv, .tsv, .parquet, .txt with a path a line"
    )


def _from_folder(folder: Path) -> Listing:
    tars = sorted(folder.glob("*.tar"))
    try:
        found, skipped = find_images(folder)
    except NotFoundError:
        if not tars:
            raise
        found, skipped = [], []
    if found or not tars:
        return Listing(list(found), labels_of(found, folder), skipped)
    return _named([member for tar in tars for member in _tar_members(tar)])


def labels_of(pictures: Sequence[Path], folder: Path) -> dict[str, list[Any]]:
    """The folder on the first level below `folder` of each, as a column; none if it is flat."""
    names = [picture.relative_to(folder).parts[:-1] for picture in pictures]
    return {LABEL: [name[0] if name else None for name in names]} if any(names) else {}


def _from_lines(lines: Iterable[str], folder: Path) -> Listing:
    try:
        return _named([folder / line for each in lines if (line := each.rstrip("\r\n"))])
    except UnicodeDecodeError as error:
        raise FgembedError(f"the list on standard input is not UTF-8: {error}") from None


def _named(pictures: Sequence[Picture]) -> Listing:
    """Those whose names can be written down; the others are skipped."""
    listing = Listing()
    for picture in pictures:
        try:
            str(picture).encode()
        except UnicodeEncodeError:
            reason = "file name is not valid UTF-8"
            listing.skipped.append(Skipped(Path(str(picture)), reason))
        else:
            listing.pictures.append(picture)
    return listing


def _from_columns(columns: dict[str, list[Any]], source: Path) -> Listing:
    name = next((name for name in PATH_COLUMNS if name in columns), None)
    if name is None:
        raise FgembedError(
            f"{source} has none of the columns {', '.join(PATH_COLUMNS)}",
            f"it has: {', '.join(columns) or 'none'}",
        )
    paths = columns.pop(name)
    missing = next((row for row, path in enumerate(paths, start=1) if not path), None)
    if missing is not None:
        raise FgembedError(f"{source} names no picture in row {missing} of column {name!r}")
    return Listing([source.parent / str(path) for path in paths], columns)


def _csv_columns(file: Path) -> dict[str, list[Any]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        try:
            delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise FgembedError(f"{file} cannot be read as a table: {error}") from None
    if not rows:
        raise FgembedError(f"{file} is empty", "expected a line of column names")
    names, *rows = rows
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise FgembedError(f"{file}: row {number} has {len(row)} of {len(names)} columns")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _parquet_columns(file: Path) -> dict[str, list[Any]]:
    require_pyarrow("a Parquet manifest")
    import pyarrow
    import pyarrow.parquet

    try:
        columns: dict[str, list[Any]] = pyarrow.parquet.read_table(file).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise FgembedError(f"{file} cannot be read as Parquet: {error}") from None
    return columns


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
        raise FgembedError(f"{tar} cannot be read as an uncompressed tar file: {error}") from None
