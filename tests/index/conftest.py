"""An index of real pictures that may be changed."""

import shutil
from pathlib import Path

import pytest

from fgembed.bundle import Bundle
from fgembed.index.changes.build import build_index


@pytest.fixture
def own(photos: Path, tmp_path: Path) -> Path:
    """A copy of the training pictures that may be changed."""
    shutil.copytree(photos / "train", tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def gallery(own: Path, bundle: Path, tmp_path: Path) -> Path:
    """Their index."""
    build_index(own, Bundle.open(bundle), tmp_path / "gallery.index")
    return tmp_path / "gallery.index"
