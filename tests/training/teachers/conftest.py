"""The images of distilled runs."""

from pathlib import Path

import pytest

from fgembed.demo.drawing import draw_set


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn images with more pixels than the encoder takes."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_set(folder, species=3, train=8, test=1, size=128)
    return folder / "train"
