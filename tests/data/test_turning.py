"""Turned images: where each pixel goes, at which scale, and that no corner tells the angle."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from fgembed.data.turning import RandomTurn, turned

ANGLES = [-180, -135, -91, -45, -10, 0, 3, 44, 46, 89, 100, 170]


def with_dot(width: int, height: int, right: int, up: int) -> Image.Image:
    """Grey, with a white dot at (right, up) pixels from the middle."""
    image = Image.new("RGB", (width, height), (60, 60, 60))
    x, y = width // 2 + right, height // 2 - up
    image.paste((255, 255, 255), (x - 3, y - 3, x + 3, y + 3))
    return image


def dot(image: Image.Image) -> tuple[float, float]:
    """Where the dot nearest to the middle is, (right, up) from the middle."""
    bright = np.asarray(image.convert("L")).astype(float) - 60
    rows, columns = np.nonzero(bright > 60)
    right, up = columns + 0.5 - image.width / 2, image.height / 2 - rows - 0.5
    near = np.hypot(right, up) < 30  # a reflection of it lies further away
    return float(right[near].mean()), float(up[near].mean())


@pytest.mark.parametrize("degrees", ANGLES)
@pytest.mark.parametrize("size", [(90, 90), (120, 80), (70, 130)])
def test_a_point_turns_about_the_middle_by_the_angle_and_keeps_its_distance(
    degrees: float, size: tuple[int, int]
):
    right, up = dot(turned(with_dot(*size, 20, 5), degrees))
    angle = math.radians(degrees)
    expected = (
        20 * math.cos(angle) - 5 * math.sin(angle),
        20 * math.sin(angle) + 5 * math.cos(angle),
    )
    assert (right, up) == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize("size", [(64, 64), (90, 30), (17, 200)])
def test_no_angle_leaves_a_corner_that_is_not_of_the_image(size: tuple[int, int]):
    pixels = np.random.default_rng(0).integers(100, 256, (size[1], size[0], 3), dtype=np.uint8)
    for degrees in ANGLES:
        view = np.asarray(turned(Image.fromarray(pixels), degrees))
        assert view.min() >= 100
        corners = view[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert len(np.unique(corners, axis=0)) == 4  # noise, not one colour


def test_a_quarter_turn_is_exact():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    view = np.asarray(turned(Image.fromarray(pixels), 90))
    np.testing.assert_array_equal(view, np.rot90(pixels))


def test_angles_are_uniform_up_to_the_largest_one():
    torch.manual_seed(0)
    image = with_dot(90, 90, 20, 0)
    for largest in (30.0, 180.0):
        turn = RandomTurn(largest, at_least=90)
        places = [dot(turn(image)) for _ in range(200)]
        angles = np.array([math.degrees(math.atan2(up, right)) for right, up in places])
        assert abs(angles).max() <= largest + 3
        counts, _ = np.histogram(angles, bins=4, range=(-largest, largest))
        assert counts.min() > 25  # of 50 expected


def test_an_image_larger_than_needed_is_reduced_first():
    torch.manual_seed(0)
    assert min(RandomTurn(10, at_least=50)(Image.new("RGB", (330, 210))).size) == 53  # by 4
    assert min(RandomTurn(10, at_least=50)(Image.new("RGB", (99, 80))).size) == 80
