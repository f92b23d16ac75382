"""The spread and the rank of the encoder's vectors, and when they are a collapse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fgembed.images.finding import find_images
from fgembed.model.encoder import Encoder
from fgembed.training.spread import Spread, SpreadWatch
from tests.training.tiny_training import CPU, SPEC, tiny_encoder


def watch_of(encoder: Encoder, photos: Path) -> SpreadWatch:
    return SpreadWatch(encoder, find_images(photos / "train")[0], SPEC, CPU)


def test_spread_and_rank_are_those_of_known_vectors():
    cross = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert Spread.of(cross).deviation == 1.0
    assert Spread.of(cross).rank == pytest.approx(2.0)
    near = np.array([[0.6, 0.8], [0.8, 0.6]])
    assert Spread.of(near).deviation == pytest.approx(2**0.5 / 10)
    assert Spread.of(near).rank == pytest.approx(1.0)
    assert not Spread.of(np.array([[np.inf, 0.0], [1.0, 0.0]])).is_finite()


def test_one_point_one_line_and_dead_maps_are_a_collapse(photos: Path):
    encoder = tiny_encoder()
    watch = watch_of(encoder, photos)
    start = watch.start
    assert not watch.has_collapsed(start)
    for parameter in encoder.parameters():
        parameter.data.mul_(0)
    assert watch.has_collapsed(watch.measure())
    assert watch.measure().deviation == 0
    assert watch.has_collapsed(Spread(start.deviation, 1.001))  # as far apart, on one line
    assert watch.has_collapsed(Spread(0.01 * start.deviation, start.rank))
    assert watch.has_collapsed(Spread(float("nan"), float("nan")))
    assert not watch.has_collapsed(Spread(0.1 * start.deviation, 0.3 * start.rank))


def test_the_sample_is_read_in_evaluation_mode_and_changes_nothing(photos: Path):
    encoder = tiny_encoder().train()
    next(encoder.backbone.children()).eval()  # as frozen statistics are
    watch = watch_of(encoder, photos)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [part.training for part in encoder.modules()]
    random = torch.get_rng_state()
    assert watch.measure() == watch.start
    assert [part.training for part in encoder.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    after = encoder.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_images_that_the_start_does_not_tell_apart_blame_no_training(tmp_path: Path):
    for number in range(6):
        Image.new("RGB", (40, 40), "teal").save(tmp_path / f"{number}.png")
    watch = SpreadWatch(tiny_encoder(), find_images(tmp_path)[0], SPEC, CPU)
    assert watch.start.deviation == pytest.approx(0, abs=1e-6)
    assert not watch.has_collapsed(watch.measure())
