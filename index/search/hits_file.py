"""Thousands of queries: pictures or vectors in, hits out, some at a time."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fgembed.disk.files import atomic_write
from fgembed.disk.parquet import require_pyarrow
from fgembed.errors import FgembedError
from fgembed.index.format.metadata_columns import in_arrow, sql_columns, sql_kind
from fgembed.index.search.hits import Hit

COLUMNS = {"query": "TEXT", "rank": "INTEGER", "score": "REAL", "id": "INTEGER", "path": "TEXT"}
QUERIES_AT_ONCE = 1000  # that are searched together


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

    rows = list(_rows(answers))
    kinds = dict(COLUMNS)
    for name in dict.fromkeys(name for row in rows for name in row if name not in COLUMNS):
        kinds[name] = sql_kind(row.get(name) for row in rows)
    columns = {name: in_arrow([row.get(name) for row in rows], kinds[name]) for name in kinds}
    with atomic_write(out) as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def check_out(out: Path) -> None:
    """Whether hits can be written into such a file, before any work is done for it.

    Raises:
        FgembedError: it ends otherwise than .jsonl or .parquet.
        MissingExtraError: pyarrow is not installed and Parquet is asked for.
    """
    if out.suffix not in (".jsonl", ".parquet"):
        raise FgembedError(f"{out} is neither .jsonl nor .parquet")
    if out.suffix == ".parquet":
        require_pyarrow("hits in Parquet")


def _rows(answers: Sequence[tuple[str, list[Hit]]]) -> Iterator[dict[str, Any]]:
    own = dict.fromkeys(name for _, hits in answers for hit in hits for name in hit.metadata)
    names = sql_columns(own, COLUMNS)
    for query, hits in answers:
        for hit in hits:
            plain = (query, hit.rank, hit.score, hit.id, str(hit.path))
            yield dict(zip(COLUMNS, plain, strict=True)) | {
                names[name]: value for name, value in hit.metadata.items()
            }
