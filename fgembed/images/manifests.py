"""Manifests of images: tables with a column of paths, from spreadsheets and programs."""

import csv
import io
from pathlib import Path
from typing import Any

from fgembed.disk.parquet import require_pyarrow, values_of
from fgembed.disk.text_files import decoded
from fgembed.errors import FgembedError
from fgembed.images.table_header import delimiter_of, unique_names


def csv_columns(file: Path) -> dict[str, list[Any]]:
    """The columns of a .csv or .tsv manifest, as text.

    Raises:
        FgembedError: it is no table in UTF-8, or in another encoding with its mark.
    """
    try:
        text = decoded(file.read_bytes())
        text = text if "\n" in text else text.replace("\r", "\n")
        delimiter = "\t" if file.suffix.lower() == ".tsv" else delimiter_of(text)
        lines = io.StringIO(text.removeprefix(f"sep={delimiter}").lstrip("\r\n"), newline="")
        rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(row)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise FgembedError(
            f"{file} cannot be read as a table: {error}",
            "save it again as comma-separated (.csv) or tab-separated (.tsv) UTF-8 text",
        ) from None
    if not rows:
        raise FgembedError(f"{file} is empty", "begin it with a line of column names")
    names, *rows = unique_names(rows[0]), *rows[1:]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise FgembedError(
                f"{file}: row {number} has {len(row)} values, expected {len(names)}",
                "correct the row, with quotes around values that hold the separator",
            )
    return {name: [row[column] for row in rows] for column, name in enumerate(names)}


def parquet_columns(file: Path) -> dict[str, list[Any]]:
    """The columns of a Parquet manifest.

    Raises:
        FgembedError: it cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    require_pyarrow("a Parquet manifest")
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file)
        columns = [values_of(column) for column in table.columns]
    except (pyarrow.ArrowException, OSError) as error:
        raise FgembedError(
            f"{file} cannot be read as Parquet: {error}", "write it again, or give it as .csv"
        ) from None
    return dict(zip(unique_names(table.column_names), columns, strict=True))
