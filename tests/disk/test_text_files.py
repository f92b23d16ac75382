"""Text is read as the programs of Windows, macOS and Linux write it."""

import codecs
import os
from pathlib import Path

import pytest

from fgembed.disk.files import read_json, read_toml
from fgembed.disk.text_files import at_home, decoded, lines_of, read_text
from fgembed.errors import ConfigError

TEXT = 'images = "größe/東京"\nseed = 7\n'
ENCODED = {
    "plain": TEXT.encode(),
    "Notepad": codecs.BOM_UTF8 + TEXT.encode(),
    "Notepad, CRLF": codecs.BOM_UTF8 + TEXT.replace("\n", "\r\n").encode(),
    "CR": TEXT.replace("\n", "\r").encode(),
    "PowerShell": codecs.BOM_UTF16_LE + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16 BE": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-32": TEXT.encode("utf-32"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-16 BE without a mark": TEXT.encode("utf-16-be"),
}


@pytest.mark.parametrize("content", ENCODED.values(), ids=ENCODED.keys())
def test_settings_are_read_from_any_editor(content: bytes, tmp_path: Path):
    file = tmp_path / "fgembed.toml"
    file.write_bytes(content)
    assert read_toml(file) == {"images": "größe/東京", "seed": 7}
    assert read_text(file) == TEXT


def test_json_is_read_with_a_mark(tmp_path: Path):
    for mark in (b"", codecs.BOM_UTF8):
        (tmp_path / "x.json").write_bytes(mark + b'{"a":\r\n1}\r\n')
        assert read_json(tmp_path / "x.json", "file") == {"a": 1}


@pytest.mark.parametrize(
    "content", [b'images = "gr\xf6\xdfe"\n', b"\xef\xbb\xbf\xff", b"\xff\xfe\0"]
)
def test_settings_in_another_encoding_are_refused_with_what_to_do(content: bytes, tmp_path: Path):
    (tmp_path / "fgembed.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"is not valid TOML: .*save it as UTF-8"):
        read_toml(tmp_path / "fgembed.toml")


@pytest.mark.parametrize("path", [r"C:\Users\ann\photos", r"D:\photos\all"])
def test_a_windows_path_in_double_quotes_is_refused_with_the_quotes_to_use(
    path: str, tmp_path: Path
):
    (tmp_path / "fgembed.toml").write_text(f'images = "{path}"\n')
    with pytest.raises(ConfigError, match="single quotes"):
        read_toml(tmp_path / "fgembed.toml")


def test_a_mark_inside_the_text_stays():
    assert decoded("a\ufeffb".encode()) == "a\ufeffb"


@pytest.mark.parametrize("content", [b"", b"a", b"\0"])
def test_the_shortest_files_are_text(content: bytes):
    assert decoded(content) == content.decode()


def test_a_name_keeps_its_bytes_where_they_are_asked_for():
    assert os.fsencode(decoded(b"gr\xf6.jpg", "surrogateescape")) == b"gr\xf6.jpg"


def test_a_carriage_return_within_a_name_ends_no_line():
    assert lines_of("a/Icon\r\nb/Icon\r.png\n") == ["a/Icon", "b/Icon\r.png", ""]


def test_a_tilde_is_the_home_folder_but_for_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/kiwi")
    assert at_home("~") == "/home/kiwi"
    assert at_home("~/photos") == "/home/kiwi/photos"
    assert at_home("a/~/b") == "a/~/b"
    assert at_home("~nobody-of-that-name/b") == "~nobody-of-that-name/b"
    assert at_home("~root") == "/root"
    (tmp_path / "~x.jpg").touch()
    assert at_home("~x.jpg") == "~x.jpg"
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "photos").mkdir()
    assert at_home("~/photos") == "~/photos"
