"""Work that needs pyarrow says so before it begins."""

import sys

import pytest

from fgembed.disk.parquet import require_pyarrow
from fgembed.errors import MissingExtraError


def test_without_pyarrow_the_purpose_and_the_extra_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(MissingExtraError, match=r"hits in Parquet needs pyarrow; .*\[scale\]"):
        require_pyarrow("hits in Parquet")


def test_with_pyarrow_nothing_is_raised():
    require_pyarrow("hits in Parquet")
