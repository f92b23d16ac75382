"""Columns keep their values, and conditions their meaning, however segments are merged."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgembed.errors import FgembedError
from fgembed.index.changes.compact import compact
from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
from fgembed.index.changes.from_embeddings import add_embeddings, build_from_embeddings
from fgembed.index.format.metadata_columns import merged_columns, sql_columns, sql_type, sql_value
from fgembed.index.format.metadata_table import BUILTIN_COLUMNS
from tests.index.making import open_index, unit_vectors, write_embeddings


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        (["1", "20", ""], "INTEGER", [1, 20, None]),
        (["1", "2.5"], "REAL", [1.0, 2.5]),
        (["-0.5", "1e3"], "REAL", [-0.5, 1000.0]),
        (["007", "8"], "TEXT", ["007", "8"]),
        (["1", "x"], "TEXT", ["1", "x"]),
        ([1, 2.5, None], "REAL", [1.0, 2.5, None]),
        ([True, False], "INTEGER", [1, 0]),
        ([float("nan"), 1.0, float("inf")], "REAL", [None, 1.0, None]),
        (["1e400", "5"], "TEXT", ["1e400", "5"]),
        ([1 << 70], "TEXT", [str(1 << 70)]),
        ([date(2020, 1, 2)], "TEXT", ["2020-01-02"]),
        ([{"a": 1}, [1, 2]], "TEXT", ['{"a": 1}', "[1, 2]"]),
        (["", None], "NULL", [None, None]),
        (["a\udc80"], "TEXT", ["a\\udc80"]),
        (["\u0661"], "TEXT", ["\u0661"]),  # a digit, but none of ASCII
    ],
)
def test_columns_get_the_type_that_all_their_values_have(values, kind: str, stored):
    assert sql_type(values) == kind
    assert [sql_value(value, kind) for value in values] == stored


def test_a_column_with_a_name_of_ours_is_renamed():
    assert sql_columns(["id", "Path", "label", "given_id"], BUILTIN_COLUMNS) == {
        "id": "given_id", "Path": "given_Path", "label": "label", "given_id": "given_given_id",
    }  # fmt: skip


def test_names_that_are_equal_for_sqlite_are_a_single_column():
    merged = merged_columns(
        [{"Year": "INTEGER", "\u00c4": "TEXT"}, {"year": "NULL", "\u00e4": "REAL"}]
    )
    assert merged == {"Year": "INTEGER", "\u00c4": "TEXT", "\u00e4": "REAL"}


def test_an_unprintable_name_and_too_many_columns_are_refused():
    with pytest.raises(FgembedError, match="a column is called 'a"):
        sql_columns(["a\0b"], BUILTIN_COLUMNS)
    with pytest.raises(
        FgembedError, match="1001 columns of metadata, expected 1000 at most; leave out"
    ):
        sql_columns(map(str, range(1001)), BUILTIN_COLUMNS)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ([900, 2016, 2020], [None, None, None], "INTEGER"),
        ([5, 2016, 2020], ["unknown", "7", None], "ANY"),
        ([9007199254740993, 5, 6], [2.5, 3.0, 7.5], "NUMERIC"),
        (["a", "b", "5"], [5, 6, None], "ANY"),
        (["a", "b", "5"], ["x", "007", None], "TEXT"),
        ([None, None, None], [None, None, None], "NULL"),
    ],
)
def test_conditions_mean_the_same_before_and_after_segments_are_merged(
    first: list[Any], second: list[Any], kind: str, tmp_path: Path
):
    index, names = tmp_path / "i", ("Year", "year")

    def embeddings(number: int, values: list[Any]) -> ImportedEmbeddings:
        paths = [f"/photos/{number}/{position}.jpg" for position in range(3)]
        columns: dict[str, Any] = {"image_path": paths, names[number]: values}
        rows = unit_vectors(3, seed=number)
        return ImportedEmbeddings.open(write_embeddings(tmp_path / f"{number}", [rows], columns))

    def state() -> dict[str, Any]:
        opened = open_index(index)
        items = opened.items(range(6))
        return {
            **{condition: opened.ids_where(condition).tolist() for condition in conditions},
            "columns": opened.manifest.columns,
            "values": {number: (item.values, named) for number, (_, item, named) in items.items()},
        }

    conditions = [
        f"year {sign} {value}" for sign in ("<", "=", ">=") for value in ("5", "'5'", "1000", "'a'")
    ] + ["year is null", "path like '/photos/1/%'", "year in (5, 'a')", "typeof(year) = 'integer'"]
    build_from_embeddings(embeddings(0, first), None, index)
    add_embeddings(index, embeddings(1, second))
    before = state()
    assert before["columns"] == {"Year": kind}
    assert before["path like '/photos/1/%'"] == [3, 4, 5]
    compact(index)
    after = state()
    if kind == "NUMERIC":  # SQLite keeps 3.0 as 3
        before.pop("typeof(year) = 'integer'"), after.pop("typeof(year) = 'integer'")
    assert after == before
    assert np.array_equal(open_index(index).live_ids(), np.arange(6))
