"""Where labels come from: class folders, a table of images and classes, or a table of pairs.

A table is .csv or .tsv. It has a column of paths and `label`, or `first`, `second` and `same`.
Paths are relative to the table's folder, or, where nothing is there, to the training images'.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fgembed.errors import FgembedError, NotFoundError
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.images.kinds.extensions import extension
from fgembed.images.listed_paths import located
from fgembed.images.manifests import csv_columns
from fgembed.images.skipped import Skipped
from fgembed.images.table_header import path_column
from fgembed.text import label
from fgembed.training.labels.groups import Pair, check_different, joined

PAIR_COLUMNS = ("first", "second", "same")
SAME = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
REMEDY = (
    "give class folders, or a .csv file with the columns path and label, or first, second and same"
)


@dataclass(frozen=True)
class Listed:
    """Labelled images that are not opened yet.

    Attributes:
        groups: images of one class each, by its name; that of joined pairs is their first image.
        skipped: what a folder holds that is no image that is read.
        pairs: how many pairs of the same and of different things were given.
    """

    groups: dict[str, list[Path]]
    skipped: list[Skipped] = field(default_factory=list)
    pairs: tuple[int, int] = (0, 0)


def listed(source: Path, images: Path, include_clutter: bool = False) -> Listed:
    """The labelled images that a folder or a table names.

    Args:
        source: the folder or table.
        images: folder of the training images.
        include_clutter: read also what lies in the folder as clutter.

    Raises:
        NotFoundError: the source or an image is missing.
        FgembedError: the source cannot be read, or contradicts itself.
    """
    if source.is_dir():
        labelled = LabelledImages.find(source, include_clutter)
        return Listed(
            _by_class(labelled.paths, labelled.labels_of(labelled.paths).tolist()), labelled.skipped
        )
    if not source.exists():
        raise NotFoundError(f"no labels at {source}", REMEDY)
    if extension(source.name) not in (".csv", ".tsv"):
        raise FgembedError(f"{source} is no folder and no table of labels", REMEDY)
    try:
        columns = {name.lower(): values for name, values in csv_columns(source).items()}
    except OSError as error:
        raise FgembedError(
            f"{source} cannot be read: {error.strerror}", "change its permissions"
        ) from None
    paths = path_column(columns)
    if all(name in columns for name in PAIR_COLUMNS):
        return _from_pairs(columns, source, images)
    if paths is None or "label" not in columns:
        raise FgembedError(f"{source} has the columns {', '.join(columns)}", REMEDY)
    files = _located(columns[paths], source, images)
    names = [label(str(name).strip()) for name in columns["label"]]
    if "" in names:
        raise FgembedError(f"{source}: row {names.index('') + 1} has no label", "add it")
    return Listed(_by_class(files, names))


def _from_pairs(columns: Mapping[str, Sequence[Any]], source: Path, images: Path) -> Listed:
    first, second = (_located(columns[name], source, images) for name in PAIR_COLUMNS[:2])
    judged: dict[bool, list[Pair]] = {True: [], False: []}
    for row, pair in enumerate(zip(first, second, strict=True)):
        answer = str(columns["same"][row]).strip().lower()
        if answer not in SAME:
            raise FgembedError(
                f"{source}: row {row + 1} has {answer!r} as `same`", "write 1 or 0, or yes or no"
            )
        judged[SAME[answer]].append(pair)
    groups = joined(judged[True])
    check_different(groups, judged[False])
    named = {str(group[0]): group for group in groups}
    return Listed(named, pairs=(len(judged[True]), len(judged[False])))


def _by_class(paths: Sequence[Path], names: Sequence[str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path, name in zip(paths, names, strict=True):
        groups.setdefault(name, []).append(path)
    return groups


def _located(names: Sequence[str], source: Path, images: Path) -> list[Path]:
    """The files of these names.

    Raises:
        NotFoundError: of any there is no file; names the first one.
    """
    beside = [located(name, source.parent) for name in names]
    files = [
        path if path.is_file() else located(name, images)
        for path, name in zip(beside, names, strict=True)
    ]
    missing = [row for row, path in enumerate(files) if not path.is_file()]
    if missing:
        raise NotFoundError(
            f"{source}: {len(missing)} of {len(files)} images are missing, the first in row "
            f"{missing[0] + 1}: {names[missing[0]]!r}",
            f"write paths relative to {source.parent} or to {images}",
        )
    return [path.resolve() for path in files]
