"""An index in the folder in which commands run."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Command


@pytest.fixture
def gallery(command: Command, bundle: Path, photos: Path, tmp_path: Path) -> Path:
    """An index of a copy of the training pictures, in the current folder."""
    shutil.copytree(photos / "train", tmp_path / "photos")
    done = command("index", "build", "photos", "--bundle", bundle)
    assert done.code == 0, done.err
    return tmp_path / "gallery.index"
