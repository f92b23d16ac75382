"""Metadata in SQLite: types, conditions, and the limits of a condition."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fgembed.errors import FgembedError, IntegrityError
from fgembed.index.format.item_conditions import positions_where
from fgembed.index.format.metadata_table import (
    Item,
    all_items,
    open_items,
    read_items,
    write_items,
)
from tests.index.making import KIND_SETTINGS, exact, make_index, unit_vectors

COLUMNS = {"label": "TEXT", "year": "INTEGER", 'odd "name"; --': "REAL"}


def table(folder: Path):
    rows = [("kiwi", 2019, 0.5), ("kiwi", 2021, None), (None, 2022, 1.5), ("o'x", None, 2.5)]
    items = [Item(10 * n, f"{n}.jpg", values=values) for n, values in enumerate(rows)]
    assert write_items(folder / "items.sqlite", items, COLUMNS).tolist() == [0, 10, 20, 30]
    return open_items(folder / "items.sqlite")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("label = 'kiwi'", [0, 1]),
        ("label = 'kiwi' and year > 2020", [1]),
        ("label = 'o''x'", [3]),
        ("label is null", [2]),
        ("year in (2019, 2022) or id = 30", [0, 2, 3]),
        ('"odd ""name""; --" >= 1.5', [2, 3]),
        ("label like 'ki%' -- a comment", [0, 1]),
        ("1", [0, 1, 2, 3]),
        ("0", []),
        ("elsewhere is null and year = 2019", [0]),
        ("path = '/photos/2.jpg'", [2]),
        ("id = (select max(id) from items)", [3]),
    ],
)
def test_a_condition_gives_positions(condition: str, expected: list[int], tmp_path: Path):
    columns = {**COLUMNS, "elsewhere": "TEXT"}
    positions = positions_where(table(tmp_path), condition, columns, "/photos")
    assert sorted(positions.tolist()) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "colour = 'red'",
        '"colour" > 3',  # for SQLite a text, which is more than any number
        "label = ",
        "1); drop table items; --",
        "1) union select 1 from pragma_database_list --",
        "load_extension('x')",
        "exists (with recursive r(x) as (select 1 union all select x + 1 from r) select * from r)",
        "length(randomblob(500000000)) > 0",
        "1) UNION SELECT 1 << 50 WHERE (1",
        "1) UNION SELECT NULL WHERE (1",
        "1) UNION SELECT 1e300 WHERE (1",
        "0) UNION SELECT -1 WHERE (1",
        "",
        "\udc80 = 1",
        "attach 'x' as y",
    ],
)
def test_an_invalid_condition_is_refused_and_the_columns_are_named(condition: str, tmp_path: Path):
    with pytest.raises(FgembedError, match="cannot be evaluated") as caught:
        positions_where(table(tmp_path), condition, COLUMNS, "/photos")
    assert "; give a condition on the columns id, path, sha256" in str(caught.value)
    assert "label, year" in str(caught.value)


def test_a_condition_that_runs_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fgembed.index.format.item_conditions.WHERE_STEPS", 1_000_000)
    items = [Item(n, str(n)) for n in range(3000)]
    write_items(tmp_path / "items.sqlite", items, {})
    connection = open_items(tmp_path / "items.sqlite")
    slow = "(select count(*) from items a, items b, items c where a.id + b.id > c.id) > 0"
    started = time.monotonic()
    with pytest.raises(FgembedError, match="takes too long"):
        positions_where(connection, slow, {}, "/")
    assert time.monotonic() - started < 30
    assert positions_where(connection, "id < 3", {}, "/").tolist() == [0, 1, 2]


def test_items_come_back_as_they_were(tmp_path: Path):
    connection = table(tmp_path)
    assert read_items(connection, [20, 5])[20].values == (None, 2022, 1.5)
    assert list(read_items(connection, [20, 5])) == [20]
    assert [item.path for item in all_items(connection)] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_a_table_that_is_no_table_is_damaged(tmp_path: Path):
    (tmp_path / "items.sqlite").write_bytes(b"SQLite format 3\0" + bytes(500))
    with pytest.raises(IntegrityError, match=r"table of items is damaged.*; build the index again"):
        read_items(open_items(tmp_path / "items.sqlite"), [1])


@pytest.mark.parametrize("kind", KIND_SETTINGS)
@pytest.mark.parametrize("share", [0, 1, 30, 1000])
def test_filters_are_right_whatever_they_select(kind: str, share: int, tmp_path: Path, monkeypatch):
    """A filter selects 0, 1, 30 or 1,000 of 4,000: compared by us, or filtered inside FAISS."""
    monkeypatch.setattr("fgembed.index.segments.segment.EXACT_COUNT", 100)
    vectors, queries = unit_vectors(4000), unit_vectors(25, seed=1)
    index = make_index(tmp_path / "i", vectors, KIND_SETTINGS[kind])
    ids = np.arange(4000)[:: 4000 // share] if share else np.zeros(0, np.int64)
    condition = f"id % {4000 // share} = 0" if share else "year > 10"
    expected = exact(queries, vectors[ids], ids, 10)
    _, hits = index.search(queries, 10, condition)
    count = min(share, 10)
    assert (hits[:, count:] == -1).all()
    assert np.isin(hits[:, :count], ids).all()
    pairs = zip(hits[:, :count], expected[1][:, :count], strict=True)
    shares = [len(np.intersect1d(a, b)) / max(1, count) for a, b in pairs]
    assert np.mean(shares) >= (0.9 if count else 0)


def test_several_threads_may_search_under_conditions(tmp_path: Path):
    index = make_index(tmp_path / "i", unit_vectors(300), KIND_SETTINGS["flat"])
    queries = unit_vectors(1, seed=1)

    def search(number: int) -> list[int]:
        ids = index.search(queries, 300, f"id > {number} and year >= 0")[1][0]
        index.paths(ids[:3].tolist())
        return sorted(ids[ids >= 0].tolist())

    with ThreadPoolExecutor(4) as pool:
        for number, ids in enumerate(pool.map(search, range(200))):
            assert ids == list(range(number + 1, 300))


def test_metadata_that_no_reader_would_take_is_not_written(tmp_path: Path):
    rows = [Item(n, f"{n}.jpg", values=("x" * (6_000_000 * n),)) for n in range(3)]
    with pytest.raises(
        FgembedError,
        match=r"metadata of item 1 takes more than .* bytes; leave out its longest values",
    ):
        write_items(tmp_path / "items.sqlite", rows, {"text": "TEXT"})
