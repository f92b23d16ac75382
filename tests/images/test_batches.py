"""Batches keep positions although images are skipped; too many skipped ones are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from fgembed.errors import BadImagesError
from fgembed.images.batches import ImageBatches, split_readable
from fgembed.images.preprocessing import Preprocessing, read_image
from fgembed.images.skipped import Skipped, check_bad, write_skipped
from tests.images.drawings import quarters

SPEC = Preprocessing(size=32)
REASON = "not an image of a supported format"


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Six images, of which those at 1 and 4 cannot be read."""
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for number, path in enumerate(paths):
        quarters(40 + number, 40).save(path)
    for position in (1, 4):
        paths[position].write_bytes(b"no image")
    return paths


@pytest.mark.parametrize("threads", [0, 2])
def test_batches_give_the_positions_of_their_images(paths: list[Path], threads: int):
    batches = ImageBatches(paths, SPEC, batch_size=3, threads=threads)
    received = list(batches)
    assert [positions for positions, _ in received] == [[0, 2, 3], [5]]
    for positions, pixels in received:
        expected = np.stack([read_image(paths[position], SPEC) for position in positions])
        np.testing.assert_array_equal(pixels, expected)
    assert batches.skipped == [Skipped(paths[1], REASON), Skipped(paths[4], REASON)]


def test_readable_images_are_told_from_the_others(paths: list[Path], tmp_path: Path):
    readable, skipped = split_readable(paths, at_least=32)
    assert readable == [paths[0], *paths[2:4], paths[5]]
    write_skipped(tmp_path / "skipped.jsonl", skipped)
    lines = (tmp_path / "skipped.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"path": str(paths[position]), "reason": REASON} for position in (1, 4)
    ]


def test_more_skipped_images_than_allowed_are_refused():
    skipped = [Skipped(Path(f"{number}.jpg"), "broken") for number in range(4)]
    check_bad([], 4, max_bad=0)
    check_bad(skipped[:2], 4, max_bad=0.5)
    with pytest.raises(
        BadImagesError,
        match=r"3 of 4 images cannot be read, allowed are 50%, the first: '0\.jpg' \(broken\); rep",
    ):
        check_bad(skipped[:3], 4, max_bad=0.5)
    with pytest.raises(
        BadImagesError, match=r"none of 4 images can be read, .*; give other images"
    ):
        check_bad(skipped, 4, max_bad=1)


def test_formats_that_are_not_read_do_not_count_as_bad():
    other = [Skipped(Path(f"{n}.psd"), "not read", is_bad=False) for n in range(90)]
    check_bad(other, 100, max_bad=0)
    check_bad([*other, Skipped(Path("1.jpg"), "cut")], 100, max_bad=0.1)
    with pytest.raises(BadImagesError, match=r"2 of 10 images cannot be read, allowed are 10%"):
        check_bad([*other, *2 * [Skipped(Path("1.jpg"), "cut")]], 100, max_bad=0.1)


def test_skipped_images_are_the_same_after_they_were_written(tmp_path: Path):
    skipped = [Skipped(Path("a.jpg"), "cut"), Skipped(Path("b.psd"), "not read", is_bad=False)]
    write_skipped(tmp_path / "skipped.jsonl", skipped)
    lines = (tmp_path / "skipped.jsonl").read_text().splitlines()
    assert [Skipped.from_json(json.loads(line)) for line in lines] == skipped
    assert lines[0] == '{"path": "a.jpg", "reason": "cut"}'
