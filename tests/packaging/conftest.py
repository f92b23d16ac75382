"""A copy of the checkout without what git ignores, and the wheel that is built from it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(folder: Path, hook: str, out: Path) -> Path:
    """What setuptools' hook builds from a source folder, without a network."""
    out.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.{hook}({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    """The files of the checkout that git knows or would."""
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, capture_output=True
    ).stdout.split()
    return [name for name in files if (ROOT / name).is_file() or (ROOT / name).is_symlink()]


@pytest.fixture(scope="session")
def source(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy."""
    copy = tmp_path_factory.mktemp("packaging") / "source"
    for name in tracked:
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to((ROOT / name).readlink())
        else:
            target.write_bytes((ROOT / name).read_bytes())
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    """The wheel built from the checkout."""
    return build(source, "build_wheel", source.parent / "wheel")
