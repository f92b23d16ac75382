"""TIFF in every layout: read as the picture that was written, or refused."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgembed.errors import ImageError
from fgembed.images import decoding
from fgembed.images.decoding import load_rgb
from tests.images.photographs import encoded, scene
from tests.images.tiff_writer import tiff

IMAGE = scene(1, (75, 60))
RGB = np.asarray(IMAGE)
GREY = np.asarray(IMAGE.convert("L"))
OPAQUE = np.full_like(GREY, 255)
RGB16, GREY16 = RGB.astype(np.uint16) * 257, GREY.astype(np.uint16) * 257
RGBA = np.dstack([RGB, OPAQUE])
CMYK = np.dstack([255 - RGB, np.zeros_like(GREY)])
YCBCR = np.asarray(IMAGE.convert("YCbCr"))


def palette(colours: int, white: int = 65535) -> dict[int, Any]:
    return {320: [*(np.arange(colours) * white // (colours - 1)).tolist()] * 3}


def coarse(bits: int) -> np.ndarray:
    return GREY >> (8 - bits)


def shown(bits: int) -> np.ndarray:
    return np.asarray(coarse(bits).astype(int) * 255 // (2**bits - 1))


READ: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]] = {
    "grey": (GREY, {"photometric": 1}, GREY),
    "grey, white is 0": (255 - GREY, {"photometric": 0}, GREY),
    "grey, one plane": (255 - GREY, {"photometric": 0, "planes": 2}, GREY),
    "grey, 16 bits": (GREY16, {"photometric": 1}, GREY),
    "grey, 16 bits, one plane": (GREY16, {"photometric": 1, "planes": 2}, GREY),
    "grey, 16 bits, white is 0": (65535 - GREY16, {"photometric": 0}, GREY),
    "grey, 12 bits in 16": (GREY16 >> 4, {"photometric": 1, "tags": {281: 4095}}, GREY),
    "grey and alpha": (np.dstack([GREY, OPAQUE]), {"photometric": 1, "extra": [2]}, GREY),
    "grey and more": (np.dstack([GREY, OPAQUE]), {"photometric": 1, "extra": [0]}, GREY),
    "no photometric": (GREY, {"tags": {262: None}}, GREY),
    "no photometric, RGB": (RGB, {"tags": {262: None}}, RGB),
    "RGB": (RGB, {"photometric": 2}, RGB),
    "RGB in planes": (RGB, {"photometric": 2, "planes": 2}, RGB),
    "RGB, 16 bits": (RGB16, {"photometric": 2}, RGB),
    "RGB and alpha": (RGBA, {"photometric": 2, "extra": [2]}, RGB),
    "RGB and alpha in planes": (RGBA, {"photometric": 2, "extra": [2], "planes": 2}, RGB),
    "RGB and premultiplied alpha": (RGBA, {"photometric": 2, "extra": [1]}, RGB),
    "RGB and more": (np.dstack([RGBA, OPAQUE]), {"photometric": 2, "extra": [0, 0]}, RGB),
    "CMYK": (CMYK, {"photometric": 5}, RGB),
    "CMYK in planes": (CMYK, {"photometric": 5, "planes": 2}, RGB),
    "CMYK, 16 bits": (CMYK.astype(np.uint16) * 257, {"photometric": 5}, RGB),
    "YCbCr": (YCBCR, {"photometric": 6, "tags": {530: [1, 1]}}, RGB),
    "palette": (GREY, {"photometric": 3, "tags": palette(256)}, GREY),
    "palette of bytes": (GREY, {"photometric": 3, "tags": palette(256, 255)}, GREY),
    **{
        f"{name}, {bits} bits": (
            coarse(bits) ^ flip * (2**bits - 1), options | {"bits": bits}, shown(bits),
        )
        for bits in (1, 2, 4)
        for name, flip, options in (
            ("grey", 0, {"photometric": 1}),
            ("grey, white is 0", 1, {"photometric": 0}),
            ("palette", 0, {"photometric": 3, "tags": palette(2**bits)}),
        )
    },
}  # fmt: skip
REFUSED: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
    "RGB in planes, 16 bits": (RGB16, {"photometric": 2, "planes": 2}, "planes of samples"),
    "signed 8 bits": ((GREY - 128).view(np.int8), {"sample_format": 2}, "signed pixels"),
    "signed 16 bits": (GREY16.view(np.int16), {"sample_format": 2}, "signed pixels"),
    "32 bits": (GREY16.astype(np.uint32), {}, "32-bit samples"),
    "floats": ((GREY / 255).astype(np.float32), {"sample_format": 3}, "floating-point pixels"),
    "doubles": (GREY / 255, {"sample_format": 3}, "floating-point pixels"),
    "RGB of floats": (RGB16.astype("f4"), {"photometric": 2, "sample_format": 3}, "floating-point"),
    "subsampled, by default": (YCBCR, {"photometric": 6}, "subsampled YCbCr"),
    "other inks": (CMYK, {"photometric": 5, "tags": {332: 2}}, "inks other than CMYK"),
    "RGB of 12 bits in 16": (
        RGB16 >> 4, {"photometric": 2, "tags": {281: [4095] * 3}}, "16-bit colours of at most 4095",
    ),
    "an odd compression": (GREY, {"tags": {259: 32771}}, "compression 32771"),
    "sensor": (GREY16, {"photometric": 32844}, "photometric interpretation 32844"),
}  # fmt: skip


def loaded(content: bytes) -> np.ndarray:
    return np.asarray(load_rgb(BytesIO(content))).astype(int)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_layout_is_read_as_its_picture(name: str, order: str):
    pixels, options, expected = READ[name]
    expected = expected if expected.ndim == 3 else np.dstack([expected] * 3)
    # Pillow does not know a BigTIFF whose numbers begin with the highest byte: it is refused.
    big = [{"big": True}] if order == "<" else []
    packings: list[dict[str, Any]] = [{}, {"tile": 16}, {"deflated": True}, {"rows": 60}, *big]
    for packing in packings:
        actual = loaded(tiff(pixels, order=order, **{**options, **packing}))
        np.testing.assert_allclose(actual, expected, atol=3)


def test_twelve_bits_are_stretched_to_white():
    np.testing.assert_allclose(loaded(tiff(GREY16 >> 4, bits=12))[..., 0], GREY, atol=1)
    with pytest.raises(ImageError, match="damaged TIFF: unknown pixel mode"):
        loaded(tiff(GREY16 >> 4, bits=12, order=">"))


@pytest.mark.parametrize("name", REFUSED)
def test_a_layout_that_would_be_misread_is_refused(name: str):
    pixels, options, reason = REFUSED[name]
    for order in "<>":
        with pytest.raises(ImageError, match=f"{reason}.*; save it again with 8 bits a channel"):
            loaded(tiff(pixels, order=order, **options))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate"])
def test_compressed_pages_are_read(compression: str):
    options = {"quality": 95} if compression == "jpeg" else {}
    actual = loaded(encoded(IMAGE, "TIFF", compression=compression, **options))
    assert np.abs(actual - RGB).mean() < 6


def test_a_thumbnail_before_the_photograph_is_passed_over():
    small = scene(2, (40, 30))
    stream = BytesIO()
    small.save(stream, "TIFF", save_all=True, append_images=[IMAGE], tiffinfo={254: 1})
    content = bytearray(stream.getvalue())
    with Image.open(BytesIO(content)) as pages:
        assert pages.n_frames == 2  # type: ignore[attr-defined]
    second = content.rindex(b"\xfe\x00")
    if content[second + 8] == 1:
        content[second + 8] = 0
    np.testing.assert_array_equal(loaded(bytes(content)), RGB)


@pytest.mark.parametrize(
    ("bits", "share"), [(8, "a 256th"), (10, "a 64th"), (12, "a sixteenth"), (14, "a quarter")]
)
def test_samples_that_fill_sixteen_bits_in_part_are_named_once_and_stretched_if_told(
    bits: int, share: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(decoding, "_named", set())
    remedy = f"if its values have {bits} bits, multiply them by {1 << (16 - bits)}$"
    few, few_colours = GREY16 >> (16 - bits), RGB16 >> (16 - bits)
    for content in (tiff(few), encoded(Image.fromarray(few), "PNG")):
        decoding._named.clear()
        with pytest.warns(UserWarning, match=f"<stream> uses {share} of its 16-bit .*{remedy}"):
            loaded(content)
        loaded(content)  # a second warning would be an error here
    if bits > 8:  # of 8 bits, nothing is left
        decoding._named.clear()
        with pytest.warns(UserWarning, match=remedy):
            loaded(tiff(few_colours, 2))
    for tag in (281, 341):
        told = tiff(few, tags={tag: (1 << bits) - 1})
        np.testing.assert_allclose(loaded(told)[..., 0], GREY, atol=1)
    if bits < 12:
        told = tiff(few, bits=12, tags={281: (1 << bits) - 1})
        np.testing.assert_allclose(loaded(told)[..., 0], GREY, atol=1)
    loaded(tiff(GREY16))
