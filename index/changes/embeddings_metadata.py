"""The metadata of embeddings that are there already: Parquet files, a row for each vector."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fgembed.disk.files import absolute
from fgembed.disk.parquet import require_pyarrow
from fgembed.errors import IntegrityError
from fgembed.images.sources import PATH_COLUMNS
from fgembed.index.format.metadata_columns import sql_columns, sql_type, sql_value
from fgembed.index.format.metadata_table import BUILTIN_COLUMNS

ID = "id"


@dataclass
class ImportedMetadata:
    """The Parquet files of a folder of embeddings; there may be none.

    Attributes:
        folder: of the embeddings.
        files: as many as there are files of vectors, with as many rows, or none at all.
    """

    folder: Path
    files: list[Path]

    def check(self, counts: Sequence[int]) -> None:
        """Refuses files that have other numbers of rows, or not the same columns.

        Raises:
            IntegrityError: they do not fit, or cannot be read.
            MissingExtraError: there are any and pyarrow is not installed.
        """
        if not self.files:
            return
        require_pyarrow("metadata of embeddings")
        import pyarrow
        import pyarrow.parquet

        place = self.folder / "metadata"
        try:
            rows = [pyarrow.parquet.read_metadata(file).num_rows for file in self.files]
            names = {tuple(pyarrow.parquet.read_schema(file).names) for file in self.files}
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise IntegrityError(f"{place}: {error}") from None
        if rows != list(counts):
            raise IntegrityError(
                f"{self.folder}: metadata of {sum(rows)} rows in {len(rows)} files for "
                f"{sum(counts)} vectors in {len(counts)}",
                "their files must correspond",
            )
        if len(names) > 1:
            raise IntegrityError(f"{place}: files differ in their columns")
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise IntegrityError(f"{place}: two columns are called {twice[0]!r}")
        if self.path_column and not all(isinstance(one, str) for one in self._paths()):
            raise IntegrityError(f"{place}: {self.path_column} is not a path in every row")

    @cached_property
    def names(self) -> list[str]:
        """Of all columns."""
        if not self.files:
            return []
        import pyarrow.parquet

        return list(pyarrow.parquet.read_schema(self.files[0]).names)

    @cached_property
    def path_column(self) -> str | None:
        """The column of the pictures."""
        return next((name for name in PATH_COLUMNS if name in self.names), None)

    @cached_property
    def types(self) -> dict[str, str]:
        """The columns that are neither ids nor pictures, with SQLite's types."""
        others = [name for name in self.names if name not in (ID, self.path_column)]
        return {name: sql_type(self._whole_column(name)) for name in others}

    @property
    def columns(self) -> dict[str, str]:
        """The columns that an index gets, as its table names them."""
        names = sql_columns(self.types, BUILTIN_COLUMNS)
        return {names[name]: kind for name, kind in self.types.items()}

    @cached_property
    def ids(self) -> list[int] | None:
        """Those of all vectors, None where the metadata gives none.

        Raises:
            IntegrityError: they are not whole numbers, or one comes twice.
        """
        if ID not in self.names:
            return None
        ids = list(self._whole_column(ID))
        fit = all(type(one) is int and 0 <= one < 1 << 62 for one in ids)
        if not fit or len(set(ids)) < len(ids):
            raise IntegrityError(f"{self.folder}: column id of the metadata is no list of ids")
        return ids

    @cached_property
    def root(self) -> Path:
        """The folder below which all pictures lie."""
        if self.path_column is None:
            return self.folder.resolve()
        return Path(os.path.commonpath({absolute(path).parent for path in self._paths()}))

    def pictures(self, table: dict[str, list[Any]]) -> list[Path] | None:
        """Those of some rows, as absolute paths; None if there is no column of them."""
        if self.path_column is None:
            return None
        return [absolute(path) for path in table[self.path_column]]

    def values(self, table: dict[str, list[Any]], count: int) -> list[tuple[Any, ...]]:
        """Those of the columns, for each of `count` rows."""
        types = self.types.items()
        columns = [[sql_value(one, kind) for one in table[name]] for name, kind in types]
        return list(zip(*columns, strict=True)) if columns else [()] * count

    def table(self, number: int, start: int, count: int) -> dict[str, list[Any]]:
        """Rows of a file, by column.

        Raises:
            IntegrityError: they cannot be read.
        """
        if not self.files:
            return {}
        return _read(self.files[number], None, start, count)

    def _paths(self) -> Iterator[Any]:
        return self._whole_column(self.path_column) if self.path_column else iter(())

    def _whole_column(self, name: str) -> Iterator[Any]:
        for file in self.files:
            yield from _read(file, [name])[name]


def _read(
    file: Path, columns: list[str] | None, start: int = 0, count: int | None = None
) -> dict[str, list[Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file, columns=columns).slice(start, count)
        rows: dict[str, list[Any]] = table.to_pydict()
    # What Python cannot hold: nanoseconds, dates after 9999, text that is not UTF-8.
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        named = f" in column {columns[0]}" if columns else ""
        raise IntegrityError(f"{file}: a value{named} cannot be read: {error}") from None
    return rows
