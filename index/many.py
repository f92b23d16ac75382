"""Thousands of queries: pictures or vectors in, hits out, some at a time."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fgembed.errors import FgembedError, MissingExtraError
from fgembed.files import atomic_write
from fgembed.index.hits import Hit

COLUMNS = ("query", "rank", "score", "id", "path")


def write_hits(out: Path, answers: Sequence[tuple[str, list[Hit]]]) -> None:
    """Writes a row for each hit: query, rank, score, id, path, and the index's own columns.

    Args:
        out: a .jsonl or .parquet file.
        answers: each query with its hits, nearest first.

    Raises:
        FgembedError: `out` ends otherwise.
        MissingExtraError: pyarrow is not installed and Parquet is asked for.
    """
    check_out(out)
    if out.suffix == ".jsonl":
        with atomic_write(out) as file:
            for row in _rows(answers):
                file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace"))
                file.write(b"\n")
        return
    import pyarrow
    import pyarrow.parquet

    types = {"query": pyarrow.string(), "rank": pyarrow.int64(), "score": pyarrow.float32(),
             "id": pyarrow.int64(), "path": pyarrow.string()}  # fmt: skip
    rows = list(_rows(answers))
    names = [*COLUMNS, *dict.fromkeys(name for row in rows for name in row if name not in COLUMNS)]
    for name in set(names) - set(COLUMNS):
        values = {type(row.get(name)) for row in rows} - {type(None)}
        if len(values) > 1:  # numbers in one segment, text in another
            types[name] = pyarrow.float64() if values <= {int, float} else pyarrow.string()
    columns = {name: _column(rows, name, types.get(name)) for name in names}
    with atomic_write(out) as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def _column(rows: Sequence[dict[str, Any]], name: str, kind: Any) -> Any:
    import pyarrow

    values = [row.get(name) for row in rows]
    if kind == pyarrow.string():
        values = [None if value is None else str(value) for value in values]
    return pyarrow.array(values, kind)


def check_out(out: Path) -> None:
    """Whether hits can be written into such a file, before any work is done for it.

    Raises:
        FgembedError: it ends otherwise than .jsonl or .parquet.
        MissingExtraError: pyarrow is not installed and Parquet is asked for.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise FgembedError(f"{out} is neither .jsonl nor .parquet")
    if out.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise MissingExtraError("hits in Parquet", "pyarrow", "scale") from None


def _rows(answers: Sequence[tuple[str, list[Hit]]]) -> Iterator[dict[str, Any]]:
    for query, hits in answers:
        for hit in hits:
            plain = (query, hit.rank, hit.score, hit.id, str(hit.path))
            yield dict(zip(COLUMNS, plain, strict=True)) | {
                name if name not in COLUMNS else f"given_{name}": value
                for name, value in hit.metadata.items()
            }
