"""Preprocessing by value; hostile pictures are in tests/end_to_end."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgembed.errors import FgembedError, IntegrityError
from fgembed.images.decoding import load_rgb
from fgembed.images.finding import class_names, find_images
from fgembed.images.preprocessing import Preprocessing, fit_to_size

SPEC = Preprocessing(size=32)


def quarters(width: int, height: int) -> Image.Image:
    """Red, green, blue and white quarters."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = 255
    return Image.fromarray(pixels)


def test_squash_keeps_every_corner():
    fitted = fit_to_size(quarters(200, 40), SPEC)
    assert fitted.shape == (32, 32, 3)
    corners = [fitted[0, 0], fitted[0, -1], fitted[-1, 0], fitted[-1, -1]]
    assert np.array(corners).tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3]


def test_crop_keeps_the_middle():
    """Of 200 x 40, a centred square of 40 x 0.5 stays: half the height, a tenth of the width."""
    pixels = np.zeros((40, 200, 3), np.uint8)
    pixels[8:32, 88:112] = 255
    fitted = fit_to_size(Image.fromarray(pixels), replace(SPEC, fit="crop", crop_ratio=0.5))
    assert int(fitted.min()) > 200


def test_pad_adds_grey_above_and_below():
    fitted = fit_to_size(quarters(200, 100), replace(SPEC, fit="pad"))
    assert fitted[0, 0].tolist() == [124, 116, 104]
    assert fitted[9, 0].tolist() == [255, 0, 0]
    assert fitted[22, 31].tolist() == [255, 255, 255]


def test_a_jpeg_is_decoded_at_a_reduced_scale_that_is_still_large_enough():
    stream = io.BytesIO()
    quarters(1600, 1200).save(stream, "JPEG")
    assert load_rgb(stream).size == (1600, 1200)
    stream.seek(0)
    assert load_rgb(stream, at_least=256).size == (400, 300)


def test_pictures_are_found_by_extension_sorted_and_through_links(tmp_path: Path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.PNG", "a.jpg", "notes.txt", "b/1.webp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found, skipped = find_images(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.jpg", "b/1.webp", "b/2.PNG"]
    assert skipped == []


def test_labels_are_the_first_folder_below_the_root():
    root = Path("root")
    assert class_names([root / "kiwi" / "x" / "1.jpg", root / "pear" / "2.jpg"], root) == [
        "kiwi",
        "pear",
    ]
    with pytest.raises(FgembedError, match="in no class folder"):
        class_names([root / "1.jpg"], root)


def test_a_specification_survives_json_and_its_digest_tells_it_from_others():
    assert Preprocessing.from_json(SPEC.to_json()) == SPEC
    others = [replace(SPEC, size=33), replace(SPEC, fit="pad"), replace(SPEC, draft=1)]
    assert len({spec.digest() for spec in [SPEC, *others]}) == 4


@pytest.mark.parametrize(
    "change",
    [{"size": 5}, {"fit": "stretch"}, {"resample": "magic"}, {"mean": 3}, {"colour": 1}],
)
def test_a_damaged_specification_is_refused(change: dict[str, object]):
    with pytest.raises(IntegrityError, match="damaged"):
        Preprocessing.from_json(SPEC.to_json() | change)
