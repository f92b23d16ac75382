"""The metadata of existing embeddings: Parquet files with a row for each vector."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fgembed.disk.files import absolute
from fgembed.disk.parquet import require_pyarrow
from fgembed.errors import IntegrityError
from fgembed.images.table_header import PATH_COLUMNS
from fgembed.index.format.metadata_columns import sql_columns, sql_type, sql_value
from fgembed.index.format.metadata_table import BUILTIN_COLUMNS

ID = "id"


@dataclass
class ImportedMetadata:
    """The Parquet files of a folder of embeddings; there may be none.

    Attributes:
        folder: holds the embeddings and `metadata/`.
        files: one for each file of vectors, with as many rows; or none at all.
    """

    folder: Path
    files: list[Path]

    def check(self, vector_files: Sequence[Path], counts: Sequence[int]) -> None:
        """Checks that there is metadata for each row, with the same columns and with image paths.

        Args:
            vector_files: .npy files in the order of the metadata files.
            counts: rows of each.

        Raises:
            IntegrityError: the files do not fit the vectors or one another, or cannot be read.
            MissingExtraError: there are files and pyarrow is not installed.
        """
        if not self.files:
            return
        require_pyarrow("metadata of embeddings")
        import pyarrow
        import pyarrow.parquet

        folder = self.folder / "metadata"
        try:
            rows = [pyarrow.parquet.read_metadata(file).num_rows for file in self.files]
            names = {tuple(pyarrow.parquet.read_schema(file).names) for file in self.files}
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise IntegrityError(
                f"{folder} cannot be read: {error}",
                "write its files again, or move it away to import the vectors alone",
            ) from None
        if rows != list(counts):
            raise IntegrityError(
                f"{self.folder}: metadata of {sum(rows)} rows in {len(rows)} files for "
                f"{sum(counts)} vectors in {len(counts)}",
                "write one metadata file for each file of vectors, with as many rows",
            )
        for file, table in zip(vector_files, self.files, strict=True):
            if _number(file) != _number(table):
                raise IntegrityError(
                    f"{file.name} and {table.name} do not belong together: their numbers differ",
                    "give each file of vectors a metadata file of the same number",
                )
        if len(names) > 1:
            raise IntegrityError(
                f"{folder}: files differ in their columns",
                "write all of them with the same columns",
            )
        self._check_columns(folder)

    def _check_columns(self, folder: Path) -> None:
        duplicates = [name for name in self.names if self.names.count(name) > 1]
        if duplicates:
            raise IntegrityError(
                f"{folder}: two columns are called {duplicates[0]!r}", "rename or drop one of them"
            )
        if self.path_column and not all(isinstance(path, str) for path in self._paths()):
            raise IntegrityError(
                f"{folder}: column {self.path_column} is not a path in every row",
                "write the path of an image in each row, or drop the column",
            )

    @cached_property
    def names(self) -> list[str]:
        """The names of all columns."""
        if not self.files:
            return []
        import pyarrow.parquet

        return list(pyarrow.parquet.read_schema(self.files[0]).names)

    @cached_property
    def path_column(self) -> str | None:
        """The column with the image paths, None if there is none."""
        return next((name for name in PATH_COLUMNS if name in self.names), None)

    @cached_property
    def types(self) -> dict[str, str]:
        """The columns besides ids and image paths, with their SQL types."""
        names = [name for name in self.names if name not in (ID, self.path_column)]
        return {name: sql_type(self._column(name)) for name in names}

    @property
    def columns(self) -> dict[str, str]:
        """`types` under the names that the index's table uses."""
        names = sql_columns(self.types, BUILTIN_COLUMNS)
        return {names[name]: kind for name, kind in self.types.items()}

    @cached_property
    def ids(self) -> list[int] | None:
        """The ids of all vectors, None if the metadata has no column `id`.

        Raises:
            IntegrityError: they are not distinct whole numbers in [0, 2^62).
        """
        if ID not in self.names:
            return None
        ids = list(self._column(ID))
        in_range = all(type(id_) is int and 0 <= id_ < 1 << 62 for id_ in ids)
        if not in_range or len(set(ids)) < len(ids):
            raise IntegrityError(
                f"{self.folder}: column id of the metadata is no list of ids, expected distinct "
                "whole numbers from 0 on",
                "correct the column, or drop it to have the vectors numbered",
            )
        return ids

    @cached_property
    def root(self) -> Path:
        """The common folder of all images; without paths that of the embeddings."""
        if self.path_column is None:
            return self.folder.resolve()
        return Path(os.path.commonpath({absolute(path).parent for path in self._paths()}))

    def paths(self, table: dict[str, list[Any]]) -> list[Path] | None:
        """The absolute image paths of a table's rows; None if there is no column of them."""
        if self.path_column is None:
            return None
        return [absolute(path) for path in table[self.path_column]]

    def values(self, table: dict[str, list[Any]], count: int) -> list[tuple[Any, ...]]:
        """The metadata of a table's `count` rows, in the order of `columns`."""
        types = self.types.items()
        columns = [[sql_value(value, kind) for value in table[name]] for name, kind in types]
        return list(zip(*columns, strict=True)) if columns else [()] * count

    def table(self, file_number: int, start: int, count: int) -> dict[str, list[Any]]:
        """`count` rows of a file from the row `start` on, by column; empty without files.

        Raises:
            IntegrityError: they cannot be read.
        """
        if not self.files:
            return {}
        return _read(self.files[file_number], None, start, count)

    def _paths(self) -> Iterator[Any]:
        return self._column(self.path_column) if self.path_column else iter(())

    def _column(self, name: str) -> Iterator[Any]:
        for file in self.files:
            yield from _read(file, [name])[name]


def _number(file: Path) -> int | None:
    """The last number in a file's name."""
    numbers = re.findall(r"\d+", file.stem)
    return int(numbers[-1]) if numbers else None


def _read(
    file: Path, columns: list[str] | None, start: int = 0, count: int | None = None
) -> dict[str, list[Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file, columns=columns).slice(start, count)
        rows: dict[str, list[Any]] = table.to_pydict()
    # Python has no nanoseconds, no dates after 9999, and no text that is not UTF-8.
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        column = f" in column {columns[0]}" if columns else ""
        raise IntegrityError(
            f"{file}: a value{column} cannot be read: {error}",
            "convert it to text or a number, or drop the column",
        ) from None
    return rows
