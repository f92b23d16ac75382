"""Where the images to embed come from: folders, tar shards, manifests, and lists of files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fgembed.disk.text_files import decoded, lines_of
from fgembed.errors import FgembedError, NotFoundError
from fgembed.images.finding import scan
from fgembed.images.image_file import ImageFile
from fgembed.images.kinds.extensions import extension, is_archive, unread_reason
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.listed_paths import located
from fgembed.images.manifests import csv_columns, parquet_columns
from fgembed.images.skipped import Skipped
from fgembed.images.table_header import PATH_COLUMNS, path_column
from fgembed.images.tar_files import scan_tar
from fgembed.text import label

LABEL = "label"
SOURCE_REMEDY = (
    "give a folder of images, a .tar file, a .csv, .tsv or .parquet manifest, or a .txt list of "
    "paths"
)


@dataclass
class Listing:
    """Images in a fixed order: the position of an image is its id.

    Attributes:
        images: files, or members of tar files.
        columns: the values of each manifest column, one per image; of a folder, `label` is the
            name of the first-level subfolder.
        skipped: files and folders that cannot be read or named; they have no position.
        passed_over: images of folders and tar files that are clutter.
    """

    images: list[ImageFile] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)


def list_images(
    sources: Sequence[Path], lines: Iterable[str] = (), *, include_clutter: bool = False
) -> Listing:
    """Every image of the sources, source by source.

    A source is a folder (its images, or if it has none its .tar files), a .tar file, a .csv, .tsv
    or .parquet manifest with one image a row, a .txt list with one path a line, or `-` for such a
    list from `lines`. Paths in a manifest or a list file are relative to its folder.

    Args:
        sources: what to read; several sources give no columns.
        lines: standard input.
        include_clutter: read also what lies in folders and tar files as clutter.

    Raises:
        NotFoundError: a source is missing or empty.
        FgembedError: a manifest, a list or a tar file cannot be read.
    """
    if len(sources) == 1:
        listing = _list_source(sources[0], lines, include_clutter)
    else:
        listing = Listing()
        for source in sources:
            part = _list_source(source, lines, include_clutter)
            listing.images += part.images
            listing.skipped += part.skipped
            listing.passed_over.add(part.passed_over)
    if not listing.images and not listing.skipped:
        passed_over = f": {listing.passed_over.sentence()}" if listing.passed_over.images else ""
        raise NotFoundError(
            f"no images in {', '.join(map(str, sources)) or 'no source'}{passed_over}",
            SOURCE_REMEDY,
        )
    return listing


def _list_source(source: Path, lines: Iterable[str], include_clutter: bool) -> Listing:
    ending = extension(source.name)
    if str(source) == "-":
        return _from_lines(lines, Path())
    if source.is_dir():
        return _from_folder(source, include_clutter)
    if not source.is_file():
        raise NotFoundError(f"no folder, manifest, list or tar file at {source}", SOURCE_REMEDY)
    if ending == ".tar":
        return _from_tars([source], include_clutter)
    if ending == ".txt":
        lines = lines_of(decoded(source.read_bytes(), "surrogateescape"))
        return _from_lines(lines, source.parent)
    if ending in (".csv", ".tsv"):
        return _from_columns(csv_columns(source), source)
    if ending == ".parquet":
        return _from_columns(parquet_columns(source), source)
    reason = unread_reason(source.name)
    if reason is not None and not is_archive(source.name):
        fact, _, remedy = reason.partition("; ")
        raise FgembedError(f"{source}: {fact}", remedy)
    raise FgembedError(f"{source} is no source of images that fgembed can read", SOURCE_REMEDY)


def _from_folder(folder: Path, include_clutter: bool) -> Listing:
    """The images of a folder, or where it has none, those of the tar files that lie in it."""
    scanned = scan(folder, include_clutter, may_be_empty=True)
    tars = [bad.path for bad in scanned.skipped if extension(bad.path.name) == ".tar"]
    tars = [tar for tar in tars if tar.parent == folder]
    if scanned.paths or not tars:
        if not scanned.paths:
            scanned = scan(folder, include_clutter)  # says why there is none
        columns = labels_of(scanned.paths, folder)
        return Listing(list(scanned.paths), columns, scanned.skipped, scanned.passed_over)
    listing = _from_tars(tars, include_clutter)
    listing.skipped += [bad for bad in scanned.skipped if bad.path not in tars]
    listing.passed_over.add(scanned.passed_over)
    return listing


def _from_tars(tars: Sequence[Path], include_clutter: bool) -> Listing:
    scans = [scan_tar(tar, include_clutter) for tar in tars]
    listing = _encodable([member for scanned in scans for member in scanned.members])
    for scanned in scans:
        listing.skipped += scanned.skipped
        listing.passed_over.add(scanned.passed_over)
    return listing


def labels_of(paths: Sequence[Path], folder: Path) -> dict[str, list[Any]]:
    """The `label` column: the first-level subfolder of `folder` of each image; {} if it has none.

    Spelt as `fgembed.text.label` does, as in evaluations.

    Example:
        >>> labels_of([Path("birds/kiwi/1.jpg"), Path("birds/2.jpg")], Path("birds"))
        {'label': ['kiwi', None]}
    """
    parents = [path.relative_to(folder).parts[:-1] for path in paths]
    return (
        {LABEL: [label(names[0]) if names else None for names in parents]} if any(parents) else {}
    )


def _from_lines(lines: Iterable[str], folder: Path) -> Listing:
    try:
        stripped = (line.lstrip("\ufeff").rstrip("\r\n") for line in lines)
        paths = [path for path in stripped if path.strip()]
    except UnicodeDecodeError as error:
        raise FgembedError(
            f"the list on standard input is not UTF-8: {error}",
            "convert it, or save it as a .txt list, of which such lines are skipped",
        ) from None
    return _encodable([located(path, folder) for path in paths])


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
    name = path_column(columns)
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
    if LABEL in columns:
        columns[LABEL] = [label(v) if isinstance(v, str) else v for v in columns[LABEL]]
    return Listing([located(str(path), source.parent) for path in paths], columns)
