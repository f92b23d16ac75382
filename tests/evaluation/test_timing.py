"""Speeds: what is timed, in which order, and what comes of it; on a clock that a test moves."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fgembed.backbones import make_backbone
from fgembed.embedding.array_types import Vectors
from fgembed.evaluation import timing
from fgembed.evaluation.floor_table import FloorTable, Score, ScoreRow
from fgembed.evaluation.speed import Speed
from fgembed.evaluation.timing import sample_pixels, speeds, timed_rounds
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import MeanPooling
from fgembed.model.torch_embedder import TorchEmbedder
from tests.clock import Clock
from tests.conftest import TINY

SPEC = Preprocessing(size=32)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter", clock)
    return clock


class Scripted:
    """Takes a given time for each batch in turn, the last one for all that follow."""

    spec = SPEC

    def __init__(self, clock: Clock, *seconds: float) -> None:
        self.clock = clock
        self.seconds = list(seconds)
        self.batches: list[Pixels] = []

    def vectors(self, pixels: Pixels) -> Vectors:
        self.clock.now_s += self.seconds[min(len(self.batches), len(self.seconds) - 1)]
        self.batches.append(pixels)
        return np.ones((len(pixels), 2), np.float32)


@pytest.fixture
def images(photos: Path) -> list[Path]:
    return sorted((photos / "train").rglob("*.jpg"))


def test_the_median_round_counts_and_the_first_warms_up(clock: Clock, images: list[Path]):
    slow_at_first = Scripted(clock, 8.0, 0.125, 0.25, 0.5)
    twice = Scripted(clock, 0.25)
    found = speeds({"mean": slow_at_first, "run": twice}, images)
    # 8 s, then two rounds: after 4 s no further one begins
    assert [len(embed.batches) for embed in (slow_at_first, twice)] == [3, 3]
    assert found["mean"] == Speed(images_per_s=48.0, low=40.0, high=56.0)
    assert found["run"] == Speed(32.0, 32.0, 32.0)
    assert found["run"].milliseconds == 31.25


def test_rounds_alternate_so_that_a_slow_while_slows_all(clock: Clock):
    order: list[str] = []
    found = timed_rounds({1: lambda: order.append("a"), 2: lambda: order.append("b")})
    assert order == ["a", "b"] * 10
    assert found == {1: [0.0] * 9, 2: [0.0] * 9}


def test_two_names_of_one_embedder_have_one_speed(clock: Clock, images: list[Path]):
    shared = Scripted(clock, 0.1, 0.1, 0.3)
    found = speeds({"start": shared, "run": shared}, images)
    assert found["start"] == found["run"]
    assert len(shared.batches) == 10


def test_real_images_are_embedded_the_same_in_every_round(clock: Clock, images: list[Path]):
    embed = Scripted(clock, 0.1)
    speeds({"start": embed}, images)
    assert all((pixels == embed.batches[0]).all() for pixels in embed.batches)
    assert embed.batches[0].shape == (8, 32, 32, 3)
    assert len(np.unique(embed.batches[0], axis=0)) == 8


def test_few_images_are_repeated_and_unreadable_ones_left_out(tmp_path: Path, images: list[Path]):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    pixels = sample_pixels([tmp_path / "bad.jpg", images[0]], SPEC, 5)
    assert pixels.shape == (5, 32, 32, 3)
    assert len(np.unique(pixels, axis=0)) == 1
    assert speeds({"start": Scripted(Clock(), 1.0)}, [tmp_path / "bad.jpg"]) == {}


def test_an_encoder_is_timed_as_exported_and_left_as_it_is(images: list[Path]):
    torch.manual_seed(0)
    encoder = Encoder(make_backbone(TINY, size=32), MeanPooling())
    embed = TorchEmbedder(encoder, SPEC, torch.device("cpu"))
    (exported,) = timing._as_exported({"run": embed}).values()
    assert isinstance(exported, TorchEmbedder)

    def norms(model: torch.nn.Module) -> int:
        return sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())

    assert (norms(encoder), norms(exported.model)) == (5, 0)
    pixels = sample_pixels(images, SPEC, 4)
    np.testing.assert_allclose(embed.vectors(pixels), exported.vectors(pixels), atol=1e-5)


def test_tables_are_equal_though_their_speeds_differ():
    row = ScoreRow("run", 2, {"recall@1": Score(0.5, 0.4, 0.6)})
    tables = [
        FloorTable([row], "leave-one-out", 2, 2, 1, 0, speed={"run": Speed(rate, rate, rate)})
        for rate in (1.0, 2.0)
    ]
    assert tables[0] == tables[1]
    assert FloorTable.from_json(tables[0].to_json()).speed == {"run": Speed(1.0, 1.0, 1.0)}
    early = {key: value for key, value in tables[0].to_json().items() if key != "speed"}
    assert FloorTable.from_json(early).speed == {}
