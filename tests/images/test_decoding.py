"""Decoding by value; hostile images are in tests/end_to_end."""

import io

from fgembed.images.decoding import load_rgb
from tests.images.drawings import quarters


def test_a_jpeg_is_decoded_at_a_reduced_scale_that_is_still_large_enough():
    stream = io.BytesIO()
    quarters(1600, 1200).save(stream, "JPEG")
    assert load_rgb(stream).size == (1600, 1200)
    stream.seek(0)
    assert load_rgb(stream, at_least=256).size == (400, 300)
