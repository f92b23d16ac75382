"""All benchmarks import: one that the library left behind is found here, not by who runs it."""

import importlib
from pathlib import Path

import pytest

import benchmarks

FOLDER = Path(next(iter(benchmarks.__path__)))


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.py")))
def test_every_benchmark_still_fits_the_library(name: str):
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__
