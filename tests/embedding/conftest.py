"""The images that tests of embeddings in parts embed."""

from pathlib import Path

import pytest

from fgembed.images.sources import Listing, list_images


@pytest.fixture
def listing(photos: Path) -> Listing:
    return list_images([photos / "train"])
