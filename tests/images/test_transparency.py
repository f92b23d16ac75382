"""What is visible against some ground is told apart, and what is opaque stays as it is."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fgembed.errors import ImageError
from fgembed.images.colours.transparency import ground
from fgembed.images.decoding import load_rgb
from tests.images.photographs import encoded, scene

BOXES = [(20, 30, 150, 160), (90, 20, 190, 60), (5, 5, 60, 190)]
Colour = tuple[int, int, int]


def shape(box: tuple[int, int, int, int], fill: Any, mode: str = "RGBA") -> Image.Image:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle(box, fill=(*fill, 255))
    return image.convert(mode)


def loaded(image: Image.Image, kind: str = "PNG", **options: Any) -> np.ndarray:
    return np.asarray(load_rgb(BytesIO(encoded(image, kind, **options)))).astype(int)


@pytest.mark.parametrize("fill", [(255,) * 3, (0,) * 3, (128,) * 3, (250, 250, 244), (64,) * 3])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_shapes_of_any_grey_are_told_apart(fill: Colour, kind: str):
    images = [loaded(shape(box, fill), kind, lossless=True, quality=90) for box in BOXES]
    for image, box in zip(images, BOXES, strict=True):
        inside, outside = image[box[1] + 9, box[0] + 9], image[199, 199]
        assert np.abs(inside - outside).max() >= 60
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(images[first] - images[second]).mean() > 10


@pytest.mark.parametrize("mode", ["LA", "PA", "P"])
def test_other_modes_are_told_apart_too(mode: str):
    picture = shape(BOXES[0], (255, 255, 255), "LA" if mode == "LA" else "RGBA")
    if mode != "LA":
        picture = picture.quantize(4)
    kind = "TIFF" if mode == "PA" else "PNG"
    image = loaded(picture.convert(mode), kind)
    assert np.abs(image[90, 90] - image[199, 199]).max() >= 60


def test_white_and_black_in_one_picture_are_both_seen():
    both = shape(BOXES[2], (255, 255, 255))
    both.paste(shape(BOXES[1], (0, 0, 0)).crop(BOXES[1]), BOXES[1])
    image = loaded(both)
    assert np.abs(image[100, 30] - image[199, 199]).max() >= 60
    assert np.abs(image[40, 150] - image[199, 199]).max() >= 60


def test_what_shows_on_white_stays_on_white():
    for fill in ((0, 0, 0), (200, 30, 40), (30, 90, 250), (180, 180, 180)):
        assert ground(shape(BOXES[0], fill)) == 255
    labelled = shape(BOXES[0], (20, 20, 90))
    ImageDraw.Draw(labelled).rectangle((60, 60, 120, 120), fill="white")  # no part of the outline
    assert ground(labelled) == 255


def test_thin_lines_have_an_outline():
    lines = Image.new("RGBA", (600, 600))
    ImageDraw.Draw(lines).line((0, 0, 599, 400), fill="white")
    assert ground(lines) == 128


def test_an_opaque_alpha_channel_changes_nothing():
    image = scene(1)
    np.testing.assert_array_equal(loaded(image.convert("RGBA")), np.asarray(image))


def test_round_corners_change_the_corners_alone():
    image = scene(2).convert("RGBA")
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 319, 239), 20, fill=255)
    image.putalpha(mask)
    actual, expected = loaded(image), np.asarray(scene(2)).astype(int)
    np.testing.assert_array_equal(actual[20:-20], expected[20:-20])
    assert actual[0, 0].tolist() == [255] * 3


def test_colours_under_full_transparency_are_the_picture_and_nothing_is_refused():
    image = scene(3).convert("RGBA")
    image.putalpha(0)
    np.testing.assert_array_equal(loaded(image), np.asarray(scene(3)))
    with pytest.raises(ImageError, match="it is fully transparent; save it with visible pixels"):
        loaded(Image.new("RGBA", (64, 64)))


def test_version_1_lays_white_below():
    content = encoded(shape(BOXES[0], (255, 255, 255)), "PNG")
    assert np.asarray(load_rgb(BytesIO(content), reading=1)).min() == 255
