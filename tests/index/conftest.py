"""A folder of real images and its index, both of which a test may change."""

import shutil
from pathlib import Path

import pytest

from fgembed.bundle import Bundle
from fgembed.index.changes.build import build_index


@pytest.fixture
def image_folder(photos: Path, tmp_path: Path) -> Path:
    """A copy of the training images."""
    shutil.copytree(photos / "train", tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def image_index(image_folder: Path, bundle: Path, tmp_path: Path) -> Path:
    """The index of `image_folder`."""
    build_index(image_folder, Bundle.open(bundle), tmp_path / "gallery.index")
    return tmp_path / "gallery.index"
