"""The rooms: small, one subject each, and importing downwards only, as the linter checks."""

import ast
import os
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.mutations import copy_source
from tests.vague_names import ROOT, source_files

MAX_FILES, MAX_LINES, MEDIAN_LINES = 16, 250, 110


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """The import linter on a checkout."""
    program = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [str(program), "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source that may be spoilt."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_source(folder)
    return folder


def test_every_contract_holds(checkout: Path):
    done = lint(checkout)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("index/search/hits.py", "import fgembed.cli.tables", "rooms import downwards"),
        ("fgembed/disk/files.py", "import fgembed.bundle", "rooms import downwards"),
        ("fgembed/model/heads.py", "import fgembed.training.loop", "rooms import downwards"),
        ("index/format/manifest.py", "import fgembed.index.search.hits", "the index's rooms"),
        ("index/segments/kinds.py", "import torch", "serving never meets torch"),
        ("fgembed/methods/moco.py", "import fgembed.data.loading", "methods know views"),
        ("fgembed/training/loop.py", "import fgembed.methods.lcr", "the loop knows the base"),
        ("fgembed/methods/base.py", "import fgembed.methods.moco", "methods import their"),
    ],
)
def test_a_forbidden_import_is_refused(checkout: Path, file: str, line: str, contract: str):
    path = checkout / file
    sound = path.read_text()
    path.write_text(f"{sound}\n\ndef forbidden():\n    {line}\n")
    try:
        done = lint(checkout)
    finally:
        path.write_text(sound)
    assert done.returncode == 1
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(text.startswith(contract) for text in broken), done.stdout


def test_a_room_without_a_place_is_refused(checkout: Path):
    module = checkout / "fgembed" / "utils.py"
    module.write_text('"""Anything."""\n')
    try:
        done = lint(checkout)
    finally:
        module.unlink()
    assert done.returncode == 1
    assert "fgembed.utils" in done.stdout


def test_a_circle_is_refused(checkout: Path):
    first, second = checkout / "fgembed/data/views.py", checkout / "fgembed/data/loading.py"
    sound = {path: path.read_text() for path in (first, second)}
    first.write_text(sound[first] + "\n\ndef circle():\n    import fgembed.data.loading\n")
    second.write_text(sound[second] + "\n\ndef circle():\n    import fgembed.data.views\n")
    try:
        done = lint(checkout)
    finally:
        for path, text in sound.items():
            path.write_text(text)
    assert done.returncode == 1
    assert "no circle BROKEN" in done.stdout


def test_only_the_table_of_commands_imports_by_name():
    importing = {
        str(path.relative_to(ROOT))
        for path in source_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr == "import_module")
        or (isinstance(node, ast.Name) and node.id in ("import_module", "__import__"))
    }
    assert importing == {"cli/main.py"}


def test_no_room_is_crowded_and_no_file_long():
    files = source_files()
    rooms = Counter(path.parent.relative_to(ROOT) for path in files)
    assert {room: count for room, count in rooms.items() if count > MAX_FILES} == {}
    lines = {path: len(path.read_text().splitlines()) for path in files}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}
    modules = [count for path, count in lines.items() if path.name != "__init__.py"]
    assert statistics.median(modules) <= MEDIAN_LINES
