"""The table of extensions: complete, without contradiction, and the one of the documentation."""

import re
from pathlib import Path

import pytest

from fgembed.images.kinds import formats
from fgembed.images.kinds.extensions import is_unread_format
from fgembed.images.kinds.formats import ARCHIVES, EXTENSIONS, NO_IMAGE, NOT_READ, READ

DOCS = Path(__file__).parents[2] / "docs" / "formats.md"


def test_an_extension_is_of_one_kind():
    unread = {f".{name}" for names in NOT_READ.values() for name in names.split()}
    kinds = [EXTENSIONS, unread, ARCHIVES, NO_IMAGE]
    assert sum(map(len, kinds)) == len(frozenset().union(*kinds))
    for table in (READ, NOT_READ):
        names = " ".join(table.values()).split()
        assert len(names) == len(set(names))


def test_the_documentation_has_the_same_tables():
    rows = re.findall(r"^\| ([^|]+) \| (\.[^|]+) \|$", DOCS.read_text(), re.MULTILINE)
    expected = {name: " ".join(f".{e}" for e in names.split())
                for name, names in (READ | NOT_READ).items()}  # fmt: skip
    assert dict(rows) == expected


@pytest.mark.parametrize("name", ["1.dng", "a/IMG_1.CR2"])
def test_raw_counts_as_bad_only_where_it_could_be_read(name: str, monkeypatch: pytest.MonkeyPatch):
    assert not is_unread_format(name)
    monkeypatch.setitem(formats.DECODERS, "camera raw", "a_module_that_is_not_there")
    assert is_unread_format(name)


@pytest.mark.parametrize(
    ("name", "unread"),
    [("1.jpg", False), ("1.heic", False), ("1", False), ("1.psd", True), ("1.zip", True)],
)
def test_other_formats_never_count_as_bad(name: str, unread: bool):
    assert is_unread_format(name) == unread
