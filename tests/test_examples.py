"""The examples in docstrings are run, each module's by itself."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.vague_names import ROOT, source_files


def module_name(path: Path) -> str:
    """As it is installed: cli/, export/ and index/ lie below fgembed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "fgembed" else ("fgembed", *parts))


WITH_EXAMPLES = [path for path in source_files() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=module_name)
def test_the_examples_of_a_module_give_what_they_say(path: Path):
    module = importlib.import_module(module_name(path).removesuffix(".__init__"))
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
