"""The first line of a manifest: what separates its columns, and what they are called."""

import csv
from collections.abc import Collection, Sequence

PATH_COLUMNS = ("image_path", "path", "filename")  # of a manifest; the first one that exists counts


def delimiter_of(text: str) -> str:
    """What separates the values of a .csv file: some spreadsheets write `;` or tabs.

    Excel may say so in a first line like `sep=;`. Otherwise it is the one that gives the header a
    column of paths, or else a comma.
    """
    header = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    if len(header) == 5 and header.startswith("sep="):
        return header[4]
    readings = {d: unique_names(next(csv.reader([header], delimiter=d), [])) for d in ",;\t"}
    return next((d for d, names in readings.items() if path_column(names)), ",")


def path_column(names: Collection[str]) -> str | None:
    """The column with the paths of the images: exactly so named, or else but for its case.

    Example:
        >>> path_column(["label", "Path"]), path_column(["label"])
        ('Path', None)
    """
    exact = next((name for name in PATH_COLUMNS if name in names), None)
    return exact or next((n for p in PATH_COLUMNS for n in names if n.lower() == p), None)


def unique_names(names: Sequence[str]) -> list[str]:
    r"""The column names on one line each; one that is empty or taken gets its number.

    Example:
        >>> unique_names([" path", "", "path", "taken\non"])
        ['path', 'column_2', 'path_3', 'taken on']
    """
    unique: list[str] = []
    for number, name in enumerate(names, start=1):
        words = "".join(c if c.isprintable() else " " for c in name).split()
        new = " ".join(words) or f"column_{number}"
        while new in unique:
            new = f"{new}_{number}"
        unique.append(new)
    return unique
