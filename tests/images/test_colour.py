"""Colours are those that a viewer shows, whatever space a file keeps them in."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from fgembed.images.colours.icc_profiles import (
    ADOBE_RGB,
    BT709,
    BT2020,
    D65,
    DISPLAY_P3,
    coded_profile,
    gamma_curve,
    matrix_profile,
    srgb_curve,
)
from fgembed.images.colours.srgb import to_srgb
from fgembed.images.decoding import load_rgb
from fgembed.images.preprocessing import Preprocessing, read_image
from tests.images.photographs import encoded, heic, scene

PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
PROFILES = {
    "Display P3": matrix_profile(DISPLAY_P3, D65, srgb_curve()),
    "Adobe RGB": matrix_profile(ADOBE_RGB, D65, gamma_curve(2.2)),
    "BT.2020": matrix_profile(BT2020, D65, srgb_curve()),
    "ProPhoto": matrix_profile(PROPHOTO, (0.3457, 0.3585), gamma_curve(1.8)),
    "linear": matrix_profile(BT709, D65, gamma_curve(1)),
}
SRGB = ImageCms.createProfile("sRGB")


def in_space(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture's values in the space of a profile, without the profile."""
    target = ImageCms.ImageCmsProfile(BytesIO(profile))
    converted = ImageCms.profileToProfile(image, SRGB, target, outputMode="RGB")
    assert converted is not None
    converted.info.clear()
    return converted


def difference(content: bytes, expected: Image.Image, reading: int = 2) -> float:
    """Mean difference of the pixels, of 255."""
    actual = np.asarray(load_rgb(BytesIO(content), reading=reading)).astype(int)
    return float(np.abs(actual - np.asarray(expected.convert("RGB"))).mean())


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
def test_a_profile_gives_back_the_picture_in_srgb(name: str, kind: str):
    image, profile = scene(3), PROFILES[name]
    exact = kind in ("PNG", "TIFF")
    options = {} if exact else {"quality": 98, "subsampling": "4:4:4", "lossless": True}
    content = encoded(in_space(image, profile), kind, icc_profile=profile, **options)
    assert difference(content, image) < (1 if exact else 4)
    assert difference(content, image, reading=1) > 5


def test_the_model_sees_the_same_of_a_large_picture_in_either_space():
    image, profile = scene(4, (1600, 1200)), PROFILES["Display P3"]
    spec = Preprocessing(size=64)
    for fit in ("squash", "crop", "pad"):
        fitted = Preprocessing(size=64, fit=fit)
        expected = read_image(BytesIO(encoded(image, "PNG")), fitted).astype(int)
        converted = encoded(in_space(image, profile), "PNG", icc_profile=profile)
        actual = read_image(BytesIO(converted), fitted)
        assert np.abs(actual - expected).mean() < 0.6
    assert Preprocessing(size=64) == spec


def test_srgb_in_other_words_leaves_every_pixel_alone():
    image = scene(5)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (own, matrix_profile(BT709, D65, srgb_curve())):
        assert to_srgb(profile, "RGB") is None
        assert difference(encoded(image, "PNG", icc_profile=profile), image) == 0


@pytest.mark.parametrize(
    "profile",
    [
        b"x",
        bytes(2_000_000),
        PROFILES["Adobe RGB"][:200],
        PROFILES["Adobe RGB"][:128] + bytes(8_000),
        PROFILES["Adobe RGB"].replace(b"RGB XYZ", b"CMYKXYZ", 1),
        PROFILES["Adobe RGB"].replace(b"RGB XYZ", b"GRAYXYZ", 1),
        matrix_profile(BT709, D65, np.zeros(256)),
        matrix_profile(BT709, D65, np.linspace(1, 0, 256)),
        bytes(5_000_000),
    ],
    ids=["text", "zeros", "cut", "no tags", "other space", "grey", "black", "negative", "huge"],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_damaged_or_absurd_profile_says_nothing(profile: bytes, mode: str):
    image = scene(6).convert(mode)
    for kind in ("PNG", "TIFF", "WEBP") if mode == "RGB" else ("PNG", "TIFF"):
        content = encoded(image, kind, icc_profile=profile, lossless=True)
        assert difference(content, image) == 0


def test_a_profile_of_grey_is_applied():
    profile = grey_profile(1.0)
    image = scene(7).convert("L")
    linear = image.point([round(255 * (code / 255) ** 2.2) for code in range(256)])
    deep = Image.fromarray(np.asarray(linear).astype(np.uint16) * 257)
    for stored in (linear, deep):
        content = encoded(stored, "TIFF", icc_profile=profile)
        assert difference(content, image) < 4
        assert difference(content, image, reading=1) > 30


def grey_profile(gamma: float) -> bytes:
    """Of the bytes of an RGB profile: its space and first curve."""
    rgb = matrix_profile(BT709, D65, gamma_curve(gamma))
    return rgb.replace(b"mntrRGB ", b"mntrGRAY", 1).replace(b"rTRC", b"kTRC", 1)


def test_lab_and_cmyk_have_their_colours():
    image = scene(8)
    lab = ImageCms.profileToProfile(image, SRGB, ImageCms.createProfile("LAB"), outputMode="LAB")
    assert lab is not None
    lab.info.clear()
    assert difference(encoded(lab, "TIFF"), image) < 2
    cmyk = image.convert("CMYK")
    for profile in (b"x", PROFILES["Adobe RGB"]):
        assert difference(encoded(cmyk, "TIFF", icc_profile=profile), cmyk) == 0


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(content: bytes, name: bytes, data: bytes) -> bytes:
    return content[:33] + chunk(name, data) + content[33:]


def test_a_png_tells_its_space_in_numbers():
    image = scene(9)
    p3 = encoded(in_space(image, PROFILES["Display P3"]), "PNG")
    assert difference(with_chunk(p3, b"cICP", bytes([12, 13, 0, 1])), image) < 1
    linear = encoded(in_space(image, PROFILES["linear"]), "PNG")
    assert difference(with_chunk(linear, b"gAMA", struct.pack(">I", 100_000)), image) < 2
    points = [0.3127, 0.329, *(number for point in ADOBE_RGB for number in point)]
    numbers = struct.pack(">8I", *(round(100_000 * number) for number in points))
    adobe = encoded(in_space(image, PROFILES["Adobe RGB"]), "PNG")
    told = with_chunk(adobe, b"gAMA", struct.pack(">I", 45_000))
    assert difference(with_chunk(told, b"cHRM", numbers), image) < 3
    plain = encoded(image, "PNG")
    usual = with_chunk(with_chunk(plain, b"gAMA", struct.pack(">I", 45_455)), b"sRGB", b"\0")
    assert difference(usual, image) == 0
    for absurd in (0, 1, 4_000_000_000):
        assert difference(with_chunk(plain, b"gAMA", struct.pack(">I", absurd)), image) == 0
    assert difference(with_chunk(plain, b"cHRM", bytes(32)), image) == 0


def test_a_png_tells_its_space_behind_long_texts_in_grey_and_beside_an_unknown_code():
    image = scene(3)
    p3 = matrix_profile(DISPLAY_P3, D65, srgb_curve())
    converted = in_space(image, p3)
    codes = with_chunk(encoded(converted, "PNG"), b"cICP", bytes([12, 13, 0, 1]))
    far = with_chunk(codes, b"tEXt", b"Comment\0" + b"x" * 5000)
    assert difference(far, image) < 1
    broken = far.replace(b"x" * 5000, b"y" * 5000)  # a wrong checksum
    assert difference(broken, image) < 1
    unknown = with_chunk(encoded(converted, "PNG", icc_profile=p3), b"cICP", bytes([99, 99, 0, 1]))
    assert difference(unknown, image) < 1
    grey = image.convert("L")
    light = srgb_curve()[np.asarray(grey).astype(int) * 4095 // 255]
    linear = encoded(Image.fromarray((light * 255).round().astype(np.uint8)), "PNG")
    told = with_chunk(linear, b"gAMA", struct.pack(">I", 100_000))
    assert difference(told, grey.convert("RGB")) < 2


def test_heic_and_avif_tell_their_space_in_numbers():
    image = scene(10)
    p3 = in_space(image, PROFILES["Display P3"])
    codes = {"color_primaries": 12, "transfer_characteristic": 13}
    content = heic(p3, quality=95, chroma=444, save_nclx_profile=True, **codes)
    assert difference(content, image) < 2
    avif = bytearray(encoded(p3, "AVIF", quality=95, subsampling="4:4:4"))
    at = avif.index(b"colrnclx") + 8
    assert difference(bytes(avif), image) > 5
    avif[at : at + 2] = b"\0\x0c"
    assert difference(bytes(avif), image) < 2


def test_a_camera_tells_adobe_rgb_in_exif_alone():
    image = scene(11)
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: "R03"}}
    adobe = in_space(image, PROFILES["Adobe RGB"])
    options = {"quality": 98, "subsampling": 0}
    assert difference(encoded(adobe, "JPEG", exif=exif, **options), image) < 3
    exif[0x8769] = {0xA001: 0xFFFF}
    assert difference(encoded(adobe, "JPEG", exif=exif, **options), image) > 5


def test_hdr_is_brought_to_the_range_of_a_screen():
    """Diffuse white is bright, and what is ten times as bright is not white yet."""
    profile = coded_profile(9, 16)
    assert profile is not None
    convert = to_srgb(profile, "RGB")
    assert convert is not None
    codes = np.array([[0.0, 0.58, 0.75, 1.0]]) * 255  # nits by PQ: 0, 203, 1000, 10,000
    greys = np.repeat(codes.round().astype(np.uint8)[..., None], 3, axis=2)
    black, diffuse, bright, brightest = np.asarray(convert(Image.fromarray(greys)))[
        0, :, 0
    ].tolist()
    assert black == 0
    assert 170 < diffuse < 210
    assert diffuse < bright <= brightest == 255


def test_a_transform_serves_eight_threads():
    image, profile = scene(12), PROFILES["ProPhoto"]
    contents = [encoded(in_space(image, profile), "PNG", icc_profile=profile)] * 64
    expected = np.asarray(load_rgb(BytesIO(contents[0])))
    with ThreadPoolExecutor(8) as pool:
        for actual in pool.map(lambda content: np.asarray(load_rgb(BytesIO(content))), contents):
            np.testing.assert_array_equal(actual, expected)
