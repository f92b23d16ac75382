"""Manifests and lists as spreadsheets, editors and shells write them."""

import codecs
import datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from fgembed.errors import FgembedError
from fgembed.images.sources import Listing, list_images


def listed(file: Path, content: bytes) -> Listing:
    file.write_bytes(content)
    return list_images([file])


def names(listing: Listing) -> list[str]:
    return [str(image) for image in listing.images]


TABLES = {
    "comma": "path,label\na.jpg,Kiwi\nb.jpg,Emu\n",
    "semicolon": "path;label\na.jpg;Kiwi\nb.jpg;Emu\n",
    "tab": "path\tlabel\na.jpg\tKiwi\nb.jpg\tEmu\n",
    "Excel's hint": "sep=;\npath;label\na.jpg;Kiwi\nb.jpg;Emu\n",
    "semicolon, label first": "label;filename\nKiwi;a.jpg\nEmu;b.jpg\n",
    "empty rows": "path;label\n;\na.jpg;Kiwi\n\nb.jpg;Emu\n;\n;\n",
    "quoted": 'path;label\n"a.jpg";"Kiwi"\n"b.jpg";"Emu"\n',
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize(
    ("mark", "encoding", "end"),
    [
        (b"", "utf-8", "\n"),
        (codecs.BOM_UTF8, "utf-8", "\r\n"),
        (codecs.BOM_UTF16_LE, "utf-16-le", "\r\n"),
        (b"", "utf-8", "\r"),
    ],
)
def test_a_table_of_any_spreadsheet_is_read(
    table: str, mark: bytes, encoding: str, end: str, tmp_path: Path
):
    content = mark + table.replace("\n", end).encode(encoding)
    listing = listed(tmp_path / "photos.csv", content)
    assert names(listing) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    assert listing.columns == {"label": ["Kiwi", "Emu"]}


def test_a_semicolon_within_a_value_separates_nothing(tmp_path: Path):
    listing = listed(tmp_path / "photos.csv", b"path,note\na.jpg,x;y\n")
    assert listing.columns == {"note": ["x;y"]}


def test_columns_without_a_name_or_with_a_name_twice_are_all_kept(tmp_path: Path):
    content = b",path,label,label\n0,a.jpg,Kiwi,Emu\n1,b.jpg,Rhea,Ostrich\n"
    listing = listed(tmp_path / "photos.csv", content)
    assert listing.columns == {
        "column_1": ["0", "1"],
        "label": ["Kiwi", "Rhea"],
        "label_4": ["Emu", "Ostrich"],
    }


def test_a_table_in_an_old_encoding_is_refused_with_what_to_do(tmp_path: Path):
    with pytest.raises(FgembedError, match=r"photos.csv cannot be read as a table: .*UTF-8 text"):
        listed(tmp_path / "photos.csv", "path;label\ngröße.jpg;x\n".encode("cp1252"))


def test_a_value_of_parquet_that_python_cannot_hold_is_left_out(tmp_path: Path):
    far = pyarrow.array([0, 253_402_300_800 + 86_400], pyarrow.timestamp("s"))  # the year 10000
    table = pyarrow.table({"path": ["a.jpg", "b.jpg"], "taken": far})
    pyarrow.parquet.write_table(table, tmp_path / "photos.parquet")
    listing = list_images([tmp_path / "photos.parquet"])
    assert listing.columns == {"taken": [datetime.datetime(1970, 1, 1), None]}


LISTS = {
    "plain": "größe.jpg\nsub/b c .jpg\n".encode(),
    "no last end": "größe.jpg\nsub/b c .jpg".encode(),
    "Notepad": codecs.BOM_UTF8 + "größe.jpg\r\n\r\nsub/b c .jpg\r\n".encode(),
    "PowerShell": codecs.BOM_UTF16_LE + "größe.jpg\r\nsub/b c .jpg\r\n".encode("utf-16-le"),
    "CR": "größe.jpg\rsub/b c .jpg\r".encode(),
}


@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS.keys())
def test_a_list_of_any_editor_is_read(content: bytes, tmp_path: Path):
    listing = listed(tmp_path / "photos.txt", content)
    assert names(listing) == [str(tmp_path / "größe.jpg"), str(tmp_path / "sub/b c .jpg")]


def test_the_mark_of_the_first_line_is_passed_over_on_standard_input():
    listing = list_images([Path("-")], iter(["\ufeffa.jpg\r\n", "b.jpg\n"]))
    assert names(listing) == ["a.jpg", "b.jpg"]


def test_a_row_and_a_line_may_begin_with_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "~really.jpg").touch()
    lines = b"~/a.jpg\n~really.jpg\n~x.jpg\nb~.jpg\n"
    expected = [tmp_path / n for n in ("home/a.jpg", "~really.jpg", "~x.jpg", "b~.jpg")]
    assert names(listed(tmp_path / "photos.txt", lines)) == [str(path) for path in expected]
    assert names(listed(tmp_path / "photos.csv", b"path\n" + lines)) == [*map(str, expected)]


WRITTEN = ["a.jpg   ", "\ta.jpg\t", '"a.jpg"', "'a.jpg' ", ' "~/b.jpg"']


@pytest.mark.parametrize("line", WRITTEN)
def test_spaces_and_quotes_around_a_path_are_dropped(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    read = names(listed(tmp_path / "photos.txt", f" \t\n{line}\n  \n".encode()))
    assert read == [str(tmp_path / ("b.jpg" if "b" in line else "a.jpg"))]
    quoted = line.replace('"', '""')
    assert names(listed(tmp_path / "photos.csv", f'path\n"{quoted}"\n'.encode())) == read


def test_a_file_that_is_really_named_with_spaces_or_quotes_comes_first(tmp_path: Path):
    for name in ("a.jpg", "a.jpg ", "'a.jpg'"):
        (tmp_path / name).touch()
    read = names(listed(tmp_path / "photos.txt", b"a.jpg \n'a.jpg'\na.jpg\n"))
    assert read == [str(tmp_path / name) for name in ("a.jpg ", "'a.jpg'", "a.jpg")]


def test_the_column_of_paths_may_be_in_capitals(tmp_path: Path):
    listing = listed(tmp_path / "photos.csv", b"PATH;Label\na.jpg;kiwi\n")
    assert names(listing) == [str(tmp_path / "a.jpg")]
    assert listing.columns == {"Label": ["kiwi"]}
    exact = listed(tmp_path / "photos.csv", b"Path,path\nb.jpg,a.jpg\n")
    assert names(exact) == [str(tmp_path / "a.jpg")]
