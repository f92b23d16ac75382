"""Images that look alike to the encoder: the message blames the images, their size or it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from fgembed.errors import FgembedError
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.shared_backbone import SharedPass
from tests.training.tiny_training import CPU, SPEC, settings, tiny_encoder, train


def test_a_start_that_tells_no_images_apart_is_refused_before_the_training(
    tiny_settings: dict[str, Any], tmp_path: Path
):
    backbone = {"backbone": {"name": "torchvision/mobilenet_v2", "weights": "random"}}
    with pytest.raises(FgembedError, match=r"that differ to one point .*; choose another backbone"):
        train(settings(tiny_settings, **backbone), tmp_path / "r")
    assert not (tmp_path / "r" / "metrics.jsonl").exists()


def test_images_read_too_small_blame_the_size_and_not_the_weights_alone(photos: Path):
    encoder = tiny_encoder()
    for parameter in encoder.parameters():
        parameter.data.mul_(0)
    for size, first in ((32, r"set a larger preprocessing.size \(32 here\)"), (64, "choose")):
        shared = SharedPass({"start": encoder}, Preprocessing(size=size), CPU)
        with pytest.raises(FgembedError, match=f"to one point .*; {first}"):
            shared.calibrate(find_images(photos / "train")[0], FitSettings(4))


def test_images_of_one_content_are_refused_before_the_training(
    tiny_settings: dict[str, Any], photos: Path, tmp_path: Path
):
    (tmp_path / "copies").mkdir()
    image = find_images(photos / "train")[0][0]
    for number in range(12):
        shutil.copy(image, tmp_path / "copies" / f"{number}{image.suffix}")
    with pytest.raises(
        FgembedError, match=r"only 1 of 12 images in .*copies differ.* needs 3; add"
    ):
        train(settings(tiny_settings, images=str(tmp_path / "copies")), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_the_whitening_blames_images_that_are_equal_only_as_pixels(tmp_path: Path):
    for number in range(5):
        text = PngImagePlugin.PngInfo()
        text.add_text("number", str(number))
        Image.new("RGB", (40, 40), "teal").save(tmp_path / f"{number}.png", pnginfo=text)
    shared = SharedPass({"start": tiny_encoder()}, SPEC, CPU)
    with pytest.raises(FgembedError, match=r"only 1 of 5 training images differ.*; add images"):
        shared.calibrate(find_images(tmp_path)[0], FitSettings(4))


def test_the_whitening_blames_an_encoder_that_maps_different_images_to_one_point(photos: Path):
    encoder = tiny_encoder()
    for parameter in encoder.parameters():
        parameter.data.mul_(0)
    shared = SharedPass({"trained": encoder}, SPEC, CPU)
    with pytest.raises(FgembedError, match=r"maps training images that differ to one point.*; me"):
        shared.calibrate(find_images(photos / "train")[0], FitSettings(4), remedy="mend it")
