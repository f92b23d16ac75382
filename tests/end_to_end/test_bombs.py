"""Pictures that are far larger than their files are refused before they take memory."""

import resource
from pathlib import Path

import pytest

from fgembed.errors import ImageError
from fgembed.images.decoding import load_rgb
from tests.end_to_end.bad_pictures import bomb


def test_a_decompression_bomb_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(30_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="exceeds limit"):
        load_rgb(tmp_path / "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_what_is_over_the_limit_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FGEMBED_MAX_PIXELS", "90000000")
    (tmp_path / "large.png").write_bytes(bomb(9_500))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match="9500 x 9500 px exceeds limit of 90,000,000 pixels"):
        load_rgb(tmp_path / "large.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB
