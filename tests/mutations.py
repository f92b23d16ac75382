"""Puts known faults into a copy of the source, one at a time, and expects the tests to fail.

Run by `make mutations`. A fault that no test notices is printed and makes this exit with 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fgembed.disk.files import read_toml

ROOT = Path(__file__).parents[1]
FAULTS = Path(__file__).with_name("faults.toml")
COPIED = ("fgembed", "cli", "export", "index", "recipes", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    """One fault: in `file`, `right` becomes `wrong`; `tests` must notice."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str


def copy_source(folder: Path) -> None:
    """Copies what the tests need of the checkout into `folder`."""
    for entry in COPIED:
        source = ROOT / entry
        if source.is_dir():
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / entry, symlinks=True, ignore=left_out)
        else:
            shutil.copy(source, folder / entry)


def passes(folder: Path, tests: str) -> bool:
    """Whether the fast ones of the tests pass on the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", *tests.split()]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode == 0


def survives(mutation: Mutation, folder: Path) -> bool:
    """Whether the tests still pass with the fault in; they must pass without it."""
    file = folder / mutation.file
    source = file.read_text()
    if source.count(mutation.right) != 1:
        raise SystemExit(f"{mutation.name}: {mutation.file} no longer holds {mutation.right!r}")
    if not passes(folder, mutation.tests):
        raise SystemExit(f"{mutation.name}: {mutation.tests} fails without the fault")
    file.write_text(source.replace(mutation.right, mutation.wrong))
    try:
        return passes(folder, mutation.tests)
    finally:
        file.write_text(source)


def main() -> None:
    """Tries every fault."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_source(folder)
        faults = [Mutation(**fault) for fault in read_toml(FAULTS)["fault"]]
        survivors = []
        for mutation in faults:
            survived = survives(mutation, folder)
            sys.stdout.write(f"{'SURVIVED' if survived else 'caught':9} {mutation.name}\n")
            sys.stdout.flush()
            survivors += [mutation.name] * survived
    raise SystemExit(1 if survivors else 0)


if __name__ == "__main__":
    main()
