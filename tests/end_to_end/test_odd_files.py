"""One odd file among many is left out or taken as it is; it ends nothing."""

import datetime
import json
import os
import shutil
import socket
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from fgembed.bundle import Bundle
from fgembed.disk.parquet import arrow_array
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from tests.conftest import Command
from tests.end_to_end.refusals import checked_picture, vectors_by_path, within

YEAR_2400, YEAR_1906 = 13_569_465_600, -2_000_000_000
LARGEST = (1 << 63) - 1


@pytest.fixture
def pictures(photos: Path, tmp_path: Path) -> Path:
    """A folder of 24 photographs in three classes."""
    shutil.copytree(photos / "train", tmp_path / "pictures")
    return tmp_path / "pictures"


def one(pictures: Path, number: int = 0) -> Path:
    return sorted(pictures.rglob("*.jpg"))[number]


def dated(file: Path, seconds: int) -> None:
    os.utime(file, (seconds, seconds))
    if int(file.stat().st_mtime) != seconds:
        pytest.skip("this disk does not keep such a time")


def stored_times(index: Path) -> list[int]:
    (table,) = index.rglob("items.sqlite")
    with closing(sqlite3.connect(table)) as connection:
        return [time for (time,) in connection.execute("SELECT mtime_ns FROM items ORDER BY path")]


@pytest.mark.parametrize(
    ("seconds", "stored"),
    [
        (YEAR_2400, LARGEST),
        (YEAR_1906, YEAR_1906 * 10**9),
        (0, 0),
        (-1, -(10**9)),
    ],
)
def test_a_file_of_any_time_is_indexed_and_known_again(
    command: Command, pictures: Path, bundle: Path, seconds: int, stored: int
):
    dated(one(pictures), seconds)
    built = command("index", "build", pictures, "--bundle", bundle, "--json").answer()
    assert (built["count"], built["skipped"]) == (24, 0)
    assert stored_times(Path("gallery.index"))[0] == stored
    added = command("index", "add", "--sync", pictures, "--json").answer()
    assert (added["unchanged"], added["replaced"], added["added"]) == (24, 0, 0)


def test_a_file_of_an_odd_time_is_embedded_searched_with_and_removed(
    command: Command, pictures: Path, bundle: Path, index: Path
):
    dated(one(pictures), YEAR_2400)
    assert command("embed", pictures, "--bundle", bundle, "--json").answer()["embedded"] == 24
    done = command("search", "--queries", pictures, "--index", index, "--out", "hits.jsonl")
    assert done.code == 0, done.err
    assert command("search", one(pictures), "--index", index, "-k", "1").code == 0


@pytest.fixture
def special_files(pictures: Path) -> list[Path]:
    """A pipe, a socket, a device, an empty file, links that lead nowhere: all named like images."""
    folder = one(pictures).parent
    names = ("pipe.jpg", "socket.jpg", "zero.jpg", "empty.jpg", "loop.jpg", "dead.jpg", "thin.png")
    pipe, sock, device, empty, loop, dead, thin = (folder / name for name in names)
    os.mkfifo(pipe)
    server = socket.socket(socket.AF_UNIX)
    current = Path.cwd()
    os.chdir(folder)  # a socket's path is short
    server.bind(sock.name)
    os.chdir(current)
    server.close()
    device.symlink_to("/dev/zero")
    empty.touch()
    loop.symlink_to(loop.name)
    dead.symlink_to("nowhere.jpg")
    checked_picture((1, 3000)).save(thin)
    return [pipe, sock, device, empty, loop, dead, thin]


def test_special_files_are_listed_and_shift_no_row(
    command: Command, pictures: Path, special_files: list[Path], bundle: Path, index: Path
):
    with within(120):
        built = command("index", "build", pictures, "--bundle", bundle, "--json").answer()
    lines = Path("gallery.index/skipped.jsonl").read_text("utf-8").splitlines()
    listed = [json.loads(line) for line in lines]
    assert {Path(entry["path"]).name for entry in listed} == {p.name for p in special_files}
    assert (built["count"], built["skipped"]) == (24, len(special_files))
    vectors, expected = vectors_by_path(Path("gallery.index")), vectors_by_path(index)
    assert vectors.keys() == expected.keys()
    for path, vector in expected.items():
        np.testing.assert_allclose(vectors[path] @ vector.T, 1, atol=1e-5)


def test_a_manifest_with_a_path_that_no_disk_takes_loses_that_row_only(
    command: Command, pictures: Path, bundle: Path
):
    rows = [str(path) for path in sorted(pictures.rglob("*.jpg"))[:6]]
    rows[2:2] = ["x" * 300 + ".jpg", "a/" * 3000 + "b.jpg", "."]
    Path("photos.csv").write_text("path\n" + "\n".join(rows) + "\n")
    built = command("index", "build", "photos.csv", "--bundle", bundle, "--json").answer()
    assert (built["count"], built["skipped"]) == (6, 3)


LARGE = [2**63, 1, None]
ODD_VALUES = {
    "not a number": [float("nan"), float("inf"), 1.5],
    "when": [datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31), None],
    "price": [Decimal("1.50"), Decimal("-0"), None],
    "raw": [b"\0\xff", b"", None],
    "list": [[1, None], [], None],
    "record": [{"a": {"b": [b"1"]}}, {"a": None}, None],
    "flag": [True, False, None],
    "text\u00a0": ["a\0b", "", "x" * 100_000],
    "select": ["a", "b", "c"],
    "Select": ["d", "e", "f"],
    "": [1, 2, 3],
}


def test_metadata_of_any_type_is_kept(command: Command, pictures: Path, bundle: Path):
    paths = [str(path) for path in sorted(pictures.rglob("*.jpg"))[:3]]
    arrays = {name: pyarrow.array(values) for name, values in ODD_VALUES.items()}
    arrays |= {"path": pyarrow.array(paths), "large": pyarrow.array(LARGE, pyarrow.uint64())}
    pyarrow.parquet.write_table(pyarrow.table(arrays), "photos.parquet")
    built = command("index", "build", "photos.parquet", "--bundle", bundle, "--json")
    assert built.answer()["count"] == 3
    hits = command("search", paths[0], "-k", "3", "--json").answer()
    assert hits[0]["metadata"]["large"] == "9223372036854775808"
    assert hits[0]["metadata"]["given_Select"] == "d"
    assert hits[0]["metadata"]["not a number"] is None
    embedded = command("embed", "photos.parquet", "--bundle", bundle, "--json")
    assert embedded.answer()["embedded"] == 3
    options = ("--bundle", bundle, "--out", "again.index", "--json")
    again = command("index", "build", "--from-embeddings", "embeddings", *options)
    assert again.answer()["count"] == 3


def test_a_thousand_columns_are_kept(command: Command, pictures: Path, bundle: Path):
    names = [f"column {number}" for number in range(1000)]
    row = ",".join(map(str, range(1000)))
    content = "path," + ",".join(names) + "\n" + f"{one(pictures)},{row}\n"
    Path("photos.csv").write_text(content)
    built = command("index", "build", "photos.csv", "--bundle", bundle, "--json").answer()
    assert built["count"] == 1


def test_a_column_name_of_several_lines_becomes_one(command: Command, pictures: Path, bundle: Path):
    Path("photos.csv").write_text(f'path,"taken\non","a\u00a0b"\n{one(pictures)},1,2\n')
    assert command("index", "build", "photos.csv", "--bundle", bundle).code == 0
    hits = command("search", one(pictures), "--json").answer()
    assert hits[0]["metadata"] == {"taken on": 1, "a b": 2}


def test_too_many_columns_are_refused_before_any_work(
    command: Command, pictures: Path, bundle: Path
):
    names = ",".join(f"c{number}" for number in range(1001))
    Path("photos.csv").write_text(f"path,{names}\n{one(pictures)}{',1' * 1001}\n")
    done = command("index", "build", "photos.csv", "--bundle", bundle)
    assert (done.code, done.out) == (1, "")
    assert "1001 columns of metadata, expected 1000 at most; leave out" in done.err
    assert not list(Path.cwd().rglob("*.npy"))


def test_a_text_that_no_table_holds_is_named_before_any_work(
    command: Command, pictures: Path, bundle: Path
):
    long, image = Path("long.parquet"), str(one(pictures, 1))
    table = {"path": [str(one(pictures)), image], "note": ["x", "東" * 2_000_000]}
    pyarrow.parquet.write_table(pyarrow.table(table), long)
    done = command("index", "build", long, "--bundle", bundle)
    assert (done.code, done.out) == (1, "")
    assert f"the metadata of {image} takes more than 5000000 bytes; leave out" in done.err
    assert not list(Path.cwd().rglob("*.npy"))


@pytest.mark.parametrize(
    "values",
    [[1, "a"], [2**64, 1], [b"1", 2], [[1], "x"], [object(), None]],
    ids=["text", "large", "bytes", "list", "object"],
)
def test_values_that_no_arrow_type_holds_become_text(values: list[object]):
    texts = arrow_array(values).to_pylist()
    assert texts == [None if value is None else str(value) for value in values]


def test_files_that_change_or_vanish_while_they_are_embedded_are_left_out(
    pictures: Path, bundle: Path, index: Path, tmp_path: Path
):
    grown, replaced, gone, touched = (one(pictures, number) for number in (0, 5, 11, 17))
    other = one(pictures, 20).read_bytes()
    folder = tmp_path / "changing.index"

    def disturb(stage: str, done: int, total: int) -> None:
        if stage != "embedding" or not gone.exists():
            return
        with grown.open("ab") as stream:
            stream.write(b"more")
        replaced.write_bytes(other)
        gone.unlink()
        os.utime(touched, (1, 1))

    report = build_index(pictures, Bundle.open(bundle), folder, report=disturb)
    left_out = {bad.path: bad.reason for bad in report.skipped}
    changed = "the file changed while it was embedded"
    assert left_out == {
        grown: changed, replaced: changed, touched: changed, gone: "No such file or directory",
    }  # fmt: skip
    vectors, expected = vectors_by_path(folder), vectors_by_path(index)
    assert len(vectors) == 20
    for path, vector in vectors.items():
        np.testing.assert_allclose(vector @ expected[path].T, 1, atol=1e-5)
    added = add_images(folder, pictures, Bundle.open(bundle))
    assert (added.added, added.unchanged) == (3, 20)
