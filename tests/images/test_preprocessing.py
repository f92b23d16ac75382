"""Preprocessing by value: where the corners and the middle of an image end up."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fgembed.errors import IntegrityError
from fgembed.images.preprocessing import Preprocessing, fit_to_size
from tests.images.drawings import quarters

SPEC = Preprocessing(size=32)


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


def test_a_grey_input_has_the_luma_in_every_channel():
    fitted = fit_to_size(quarters(200, 40), replace(SPEC, grey=True))
    corners = [fitted[0, 0], fitted[0, -1], fitted[-1, 0], fitted[-1, -1]]
    assert np.array(corners).tolist() == [[76] * 3, [150] * 3, [29] * 3, [255] * 3]


def test_a_specification_of_before_grey_means_colour_and_has_the_same_digest():
    stored = SPEC.to_json()
    assert "grey" not in stored
    assert not Preprocessing.from_json(stored).grey
    grey = replace(SPEC, grey=True)
    assert Preprocessing.from_json(grey.to_json()) == grey
    assert grey.digest() != SPEC.digest()


def test_a_specification_survives_json_and_its_digest_differs_from_its_variants():
    assert Preprocessing.from_json(SPEC.to_json()) == SPEC
    variants = [replace(SPEC, size=33), replace(SPEC, fit="pad"), replace(SPEC, draft=1)]
    assert len({spec.digest() for spec in [SPEC, *variants]}) == 4


@pytest.mark.parametrize(
    "change",
    [{"size": 5}, {"fit": "stretch"}, {"resample": "magic"}, {"mean": 3}, {"colour": 1}],
)
def test_a_damaged_specification_is_refused(change: dict[str, object]):
    with pytest.raises(
        IntegrityError,
        match=r"preprocessing of the model is damaged: .*; restore the model from a copy",
    ):
        Preprocessing.from_json(SPEC.to_json() | change)
