"""Writes the hits of many queries into a JSON Lines or Parquet file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fgembed.disk.outputs import Output
from fgembed.disk.parquet import require_pyarrow
from fgembed.index.format.metadata_columns import in_arrow, sql_columns, sql_kind
from fgembed.index.search.hits import Hit

COLUMNS = {"query": "TEXT", "rank": "INTEGER", "score": "REAL", "id": "INTEGER", "path": "TEXT"}
MAX_ROW_BYTES = 1 << 24


def write_hits(out: Path, results: Sequence[tuple[str, list[Hit]]]) -> None:
    """Writes a row for each hit: query, rank, score, id, path, and the metadata columns.

    Args:
        out: a .jsonl or .parquet file.
        results: each query by its name, with its hits, nearest first.

    Raises:
        FgembedError: `out` has another ending, or is there and holds something else.
        MissingExtraError: `out` is a Parquet file and pyarrow is not installed.
    """
    check_out(out)
    if out.suffix.lower() == ".jsonl":
        with HITS.write(out) as file:
            for row in _rows(results):
                file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace"))
                file.write(b"\n")
        return
    import pyarrow
    import pyarrow.parquet

    rows = list(_rows(results))
    kinds = dict(COLUMNS)
    for name in dict.fromkeys(name for row in rows for name in row if name not in COLUMNS):
        kinds[name] = sql_kind(row.get(name) for row in rows)
    columns = {name: in_arrow([row.get(name) for row in rows], kinds[name]) for name in kinds}
    with HITS.write(out) as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def check_out(out: Path, queries: Path | None = None) -> None:
    """Checks that hits can be written into such a file, before any search is run for it.

    Raises:
        FgembedError: it ends neither in .jsonl nor in .parquet, is the file of the queries, or is
            there and holds something else.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    if out.suffix.lower() == ".parquet":
        require_pyarrow("hits in Parquet")
    HITS.check(out, [queries] if queries is not None else [])


def _is_ours(file: Path) -> bool:
    """Whether the first row has the columns of hits."""
    names: list[str]
    if file.suffix.lower() == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            names = pyarrow.parquet.read_schema(file).names
        except pyarrow.ArrowException:
            return False
    else:
        with file.open("rb") as stream:
            line = stream.readline(MAX_ROW_BYTES)
        try:
            names = [*json.loads(line)]
        except (ValueError, TypeError, RecursionError):
            return False
    return [*names][: len(COLUMNS)] == [*COLUMNS]


HITS = Output("a file of hits", (".jsonl", ".parquet"), _is_ours)


def _rows(results: Sequence[tuple[str, list[Hit]]]) -> Iterator[dict[str, Any]]:
    metadata = dict.fromkeys(name for _, hits in results for hit in hits for name in hit.metadata)
    names = sql_columns(metadata, COLUMNS)
    for query, hits in results:
        for hit in hits:
            plain = (query, hit.rank, hit.score, hit.id, str(hit.path))
            yield dict(zip(COLUMNS, plain, strict=True)) | {
                names[name]: value for name, value in hit.metadata.items()
            }
