"""Cards, thumbnails and heat maps by value."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fgembed.pages.cards import Card, agreement, score_text, thumbnail
from fgembed.pages.heat_maps import Heat, heat_overlay
from fgembed.text import showable

GREY = Image.new("RGB", (70, 70), (128, 128, 128))


def card(image: Image.Image = GREY, **attributes: Any) -> Card:
    return Card("a.jpg", image, **attributes)


def one_hot(side: int, row: int, column: int) -> Heat:
    heat = np.zeros((side, side), dtype=np.float32)
    heat[row, column] = 1
    return heat


def change(heat: Heat, image: Image.Image = GREY, strength: float = 0.55) -> npt.NDArray[np.int_]:
    """Largest difference over the channels of every pixel, (H, W)."""
    before = np.asarray(image, dtype=int)
    after = np.asarray(heat_overlay(image, heat, strength), dtype=int)
    difference: npt.NDArray[np.int_] = np.abs(after - before).max(axis=-1)
    return difference


def test_zero_heat_leaves_the_image_unchanged():
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    overlaid = heat_overlay(Image.fromarray(noise), np.zeros((7, 7)))
    np.testing.assert_array_equal(np.asarray(overlaid), noise)


def test_zero_strength_leaves_the_image_unchanged():
    assert change(np.ones((4, 4)), strength=0.0).max() == 0


def test_full_heat_blends_in_the_hottest_colour_by_strength():
    black = Image.new("RGB", (8, 8))
    overlaid = np.asarray(heat_overlay(black, np.ones((4, 4)), strength=0.4))
    assert (overlaid == [102, 90, 12]).all()  # 0.4 x (255, 225, 30)


def test_opacity_is_the_root_of_heat():
    black = Image.new("RGB", (8, 8))
    overlaid = np.asarray(heat_overlay(black, np.full((4, 4), 0.2), strength=1.0))
    # At 0.2 the second of six colours, (90, 10, 150), times 0.447.
    assert (overlaid == [40, 4, 67]).all()


def test_the_peak_changes_most_and_far_corners_not_at_all():
    changed = change(one_hot(7, row=1, column=5))
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert 10 <= row < 20 and 50 <= column < 60  # the cell (1, 5) of 10 x 10 pixels
    assert changed[-20:, :20].max() == 0


def test_heat_follows_the_proportions_of_the_image():
    wide = Image.new("RGB", (140, 20), (128, 128, 128))
    changed = change(one_hot(4, row=0, column=3), wide)
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert row < 5 and column >= 105


def test_colours_grow_lighter_with_heat():
    ramp = heat_overlay(Image.new("RGB", (256, 4)), np.linspace(0, 1, 256)[None], strength=1.0)
    lightness = np.asarray(ramp.convert("L"), dtype=int)[0, ::15]
    assert (np.diff(lightness) > 0).all()
    assert lightness[-1] > 200


@pytest.mark.parametrize("low, high", [(0.0, 1.5), (-0.2, 1.0), (0.0, np.nan), (0.0, np.inf)])
def test_heat_outside_zero_to_one_is_refused(low, high):
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        card(heat=np.array([[low, high]]))


def test_heat_that_rounds_a_little_above_one_is_taken_as_one():
    np.testing.assert_array_equal(change(np.full((2, 2), 1.0005)), change(np.ones((2, 2))))


def test_heat_of_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 7, 7\), expected \(h, w\)"):
        heat_overlay(GREY, np.zeros((1, 7, 7)))


def test_images_that_are_not_rgb_are_refused():
    with pytest.raises(ValueError, match=r"image 'a\.jpg' has mode RGBA, expected RGB; convert it"):
        card(image=GREY.convert("RGBA"))


def test_a_score_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match=r"score of 'a\.jpg' is nan"):
        card(score=float("nan"))


@pytest.mark.parametrize(
    "size, fitted",
    [
        ((800, 400), (200, 100)),
        ((30, 60), (60, 120)),
        ((200, 50), (200, 50)),
        ((3000, 2), (200, 1)),
    ],
)
def test_thumbnails_keep_proportions_and_are_enlarged_at_most_twice(size, fitted):
    assert thumbnail(Image.new("RGB", size), 200).size == fitted


def test_thumbnails_keep_colours_in_place():
    halves = Image.new("RGB", (800, 800), (255, 0, 0))
    halves.paste((0, 0, 255), (400, 0, 800, 800))
    small = thumbnail(halves, 100)
    assert small.getpixel((20, 50)) == (255, 0, 0)
    assert small.getpixel((80, 50)) == (0, 0, 255)


@pytest.mark.parametrize(
    "query, hit, expected",
    [("cat", "cat", "same"), ("cat", "dog", "different"), ("", "cat", ""), ("cat", "", "")],
)
def test_captions_agree_only_when_both_are_known(query, hit, expected):
    assert agreement(card(caption=query), card(caption=hit)) == expected


@pytest.mark.parametrize(
    "score, text", [(0.98765, "0.988"), (1.0, "1.000"), (-0.0001, "0.000"), (None, "")]
)
def test_scores_have_three_decimals(score, text):
    assert score_text(card(score=score)) == text


@pytest.mark.parametrize(
    "text, shown",
    [
        ("räka 海老 🦐.jpg", "räka 海老 🦐.jpg"),
        ("a\nb\x00c", r"a\nb\x00c"),
        ("byte \udcff", r"byte \udcff"),
        ("gpj\u202e.exe", r"gpj\u202e.exe"),
    ],
)
def test_only_what_cannot_be_shown_is_spelled_out(text, shown):
    assert showable(text) == shown
