"""A folder of embeddings that are there already, as parts of a segment.

`fgembed embed`, clip-retrieval and autofaiss lay them out so: `img_emb/*.npy` with, of the same
order, `metadata/*.parquet`; a folder that holds .npy files alone is taken too.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.errors import IntegrityError, MissingExtraError, NotFoundError
from fgembed.files import absolute, read_json
from fgembed.index.arrays import read_array, shape_of_vectors
from fgembed.index.items import Item, sql_columns, sql_type, sql_value
from fgembed.index.shard_plan import MODEL_TYPE, PLAN_FILE
from fgembed.metrics import Vectors
from fgembed.pictures import PATH_COLUMNS

UNIT = 1e-3  # vectors whose length differs from 1 by more are brought to length 1
ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Slice:
    """Some rows of one .npy file."""

    given: "GivenEmbeddings"
    number: int
    start: int
    first_id: int

    def vectors(self) -> Vectors:
        """(B, D) of unit length.

        Raises:
            IntegrityError: one is not finite, or zero.
        """
        file = self.given.files[self.number]
        array = read_array(file)
        vectors = np.asarray(array[self.start : self.start + ROWS_AT_ONCE], np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        wrong = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
        if wrong.any():
            row = self.start + int(np.flatnonzero(wrong)[0])
            raise IntegrityError(f"{file}: row {row} is no vector: it is zero or not finite")
        if np.abs(lengths - 1).max(initial=0) <= UNIT:
            return vectors
        scaled: Vectors = vectors / lengths
        return scaled

    def items(self) -> list[Item]:
        """B items."""
        count = min(ROWS_AT_ONCE, self.given.counts[self.number] - self.start)
        table = self.given.table(self.number, self.start, count)
        ids = table.get("id") or range(self.first_id, self.first_id + count)
        paths = table.get(self.given.path_column or "") or [
            f"{self.given.files[self.number].name}#{self.start + row}" for row in range(count)
        ]
        values = [
            [sql_value(value, kind) for value in table[name]]
            for name, kind in self.given.types.items()
        ]
        rows = zip(*values, strict=True) if values else (() for _ in range(count))
        return [
            Item(int(number), self.given.relative(str(path)), None, None, None, tuple(row))
            for number, path, row in zip(ids, paths, rows, strict=True)
        ]


@dataclass
class GivenEmbeddings:
    """The files of a folder, in numerical order.

    Attributes:
        folder: where they lie.
        files: of vectors.
        counts: rows of each.
        dimensions: D.
        metadata: a Parquet file for each, or none at all.
    """

    folder: Path
    files: list[Path]
    counts: list[int]
    dimensions: int
    metadata: list[Path] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path) -> "GivenEmbeddings":
        """Looks at every file's header.

        Raises:
            NotFoundError: there are no .npy files.
            IntegrityError: a file is damaged, or files do not fit one another.
            MissingExtraError: there is metadata and pyarrow is not installed.
        """
        place = folder / "img_emb" if (folder / "img_emb").is_dir() else folder
        files = sorted(place.glob("*.npy"), key=_numerically)
        if not files:
            raise NotFoundError(f"no .npy files of embeddings in {place}")
        shapes = [shape_of_vectors(file) for file in files]
        widths = {width: file for (_, width), file in zip(shapes, files, strict=True)}
        if len(widths) > 1:
            named = ", ".join(f"{width} in {file.name}" for width, file in sorted(widths.items()))
            raise IntegrityError(f"embeddings in {place} differ in their dimensions: {named}")
        given = cls(folder, files, [count for count, _ in shapes], shapes[0][1])
        given.metadata = sorted((folder / "metadata").glob("*.parquet"), key=_numerically)
        given._check_metadata()
        if given.count == 0:
            raise NotFoundError(f"the .npy files in {place} hold no vectors")
        return given

    @classmethod
    def of_file(cls, file: Path) -> "GivenEmbeddings":
        """One .npy file without metadata.

        Raises:
            NotFoundError: it is not there.
            IntegrityError: it holds no vectors.
        """
        if not file.is_file():
            raise NotFoundError(f"no file of vectors at {file}")
        count, dimensions = shape_of_vectors(file)
        if count == 0:
            raise NotFoundError(f"{file} holds no vectors")
        return cls(file.parent, [file], [count], dimensions)

    @property
    def count(self) -> int:
        """N."""
        return sum(self.counts)

    @cached_property
    def plan(self) -> dict[str, Any] | None:
        """What `fgembed embed` says of them, None of another's embeddings."""
        file = self.folder / PLAN_FILE
        content = read_json(file, "plan of embeddings") if file.is_file() else {}
        return content if content.get("model_type") == MODEL_TYPE else None

    def parts(self, first: int = 0) -> list[Slice]:
        """All of it, some rows at a time; ids that are not given count from `first`."""
        parts = []
        for number, count in enumerate(self.counts):
            starts = range(0, count, ROWS_AT_ONCE)
            parts += [Slice(self, number, start, first + start) for start in starts]
            first += count
        return parts

    @cached_property
    def names(self) -> list[str]:
        """The metadata's columns."""
        if not self.metadata:
            return []
        import pyarrow.parquet

        return list(pyarrow.parquet.read_schema(self.metadata[0]).names)

    @cached_property
    def path_column(self) -> str | None:
        """The column of the pictures."""
        return next((name for name in PATH_COLUMNS if name in self.names), None)

    @cached_property
    def types(self) -> dict[str, str]:
        """The other columns, with SQLite's types."""
        others = [name for name in self.names if name not in ("id", self.path_column)]
        return {name: sql_type(self._whole_column(name)) for name in others}

    @property
    def columns(self) -> dict[str, str]:
        """As the table has them."""
        names = sql_columns(self.types)
        return {names[name]: kind for name, kind in self.types.items()}

    @cached_property
    def root(self) -> str:
        """The folder below which all pictures lie."""
        if self.path_column is None:
            return str(self.folder.resolve())
        folders = {absolute(path).parent for path in self._whole_column(self.path_column)}
        return os.path.commonpath(folders)

    def relative(self, path: str) -> str:
        """A picture's name below the root."""
        if self.path_column is None:
            return path
        return absolute(path).relative_to(self.root).as_posix()

    def ids(self) -> Sequence[int] | None:
        """The ids that the metadata gives, None where it gives none.

        Raises:
            IntegrityError: they are not whole numbers, or one comes twice.
        """
        if "id" not in self.names:
            return None
        ids = list(self._whole_column("id"))
        if not all(type(one) is int and 0 <= one < 1 << 62 for one in ids) or len(set(ids)) < len(
            ids
        ):
            raise IntegrityError(f"{self.folder}: column id of the metadata is no list of ids")
        return ids

    def table(self, number: int, start: int, count: int) -> dict[str, list[Any]]:
        """Rows of a metadata file, by column."""
        if not self.metadata:
            return {}
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self.metadata[number])
        rows: dict[str, list[Any]] = table.slice(start, count).to_pydict()
        return rows

    def _whole_column(self, name: str) -> Iterator[Any]:
        import pyarrow.parquet

        for file in self.metadata:
            yield from pyarrow.parquet.read_table(file, columns=[name])[name].to_pylist()

    def _check_metadata(self) -> None:
        if not self.metadata:
            return
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise MissingExtraError("metadata of embeddings", "pyarrow", "scale") from None
        try:
            rows = [pyarrow.parquet.read_metadata(file).num_rows for file in self.metadata]
            names = {tuple(pyarrow.parquet.read_schema(file).names) for file in self.metadata}
        except (pyarrow.ArrowException, OSError) as error:
            raise IntegrityError(f"{self.folder / 'metadata'}: {error}") from None
        if self.path_column and None in self._whole_column(self.path_column):
            raise IntegrityError(f"{self.folder}: a row of the metadata has no {self.path_column}")
        if rows != self.counts:
            raise IntegrityError(
                f"{self.folder}: metadata of {sum(rows)} rows in {len(rows)} files for "
                f"{self.count} vectors in {len(self.files)}; their files must correspond"
            )
        if len(names) > 1:
            raise IntegrityError(f"{self.folder / 'metadata'}: files differ in their columns")


def _numerically(file: Path) -> tuple[str | int, ...]:
    """10.npy comes after 9.npy."""
    return tuple(int(n) if n.isdecimal() else n for n in re.split(r"(\d+)", file.name))
