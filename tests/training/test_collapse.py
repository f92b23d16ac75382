"""A collapse is seen while it happens, and the message names what the user can change."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from fgembed.backbones import make_backbone
from fgembed.config import RunConfig
from fgembed.errors import FgembedError
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.table import METHODS, method_named
from fgembed.model.encoder import Encoder
from fgembed.model.pooling import MeanPooling
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.shared_backbone import SharedPass
from fgembed.resolve import resolve
from fgembed.training.collapse import milder
from fgembed.training.metrics_log import logged
from fgembed.training.preparation import make_method
from fgembed.training.resuming.checkpoint import where_it_continues
from fgembed.training.run import run_training
from fgembed.training.spread import RANK, SPREAD, Spread, SpreadWatch
from fgembed.workspace import RunFolder
from tests.conftest import TINY, TINY_VIT, Command
from tests.end_to_end.refusals import refused
from tests.teachers import tiny_teacher

CPU = torch.device("cpu")
SPEC = Preprocessing(size=32)


def settings(tiny_settings: dict[str, Any], **extra: Any) -> RunConfig:
    plain = {key: value for key, value in tiny_settings.items() if key != "eval"}
    learning = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}
    moco = {"method": {"name": "moco", "queue_size": 16}, "optimiser": learning}
    return resolve(plain | moco, extra, "tests")


def train(config: RunConfig, folder: Path) -> None:
    run_training(config, method_named(config.method.name), folder, lambda progress: None)


def tiny_encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(make_backbone(TINY, size=32), MeanPooling())


def watch_of(encoder: Encoder, photos: Path) -> SpreadWatch:
    return SpreadWatch(encoder, find_images(photos / "train")[0], SPEC, CPU)


@pytest.mark.parametrize(
    ("optimiser", "words"),
    [
        (
            {"learning_rate": 1000.0},
            (
                r"collapsed at step 1 of 6: the encoder maps 24 different training images almost "
                r"to one point, "
                r"spread .* % as widely as at the start; start a new run with a lower "
                r"optimiser.learning_rate \(1000 here, 0.03 in the recipe\)"
            ),
        ),
        (
            {"learning_rate": 1e4},
            (
                r"diverged at step 1 of 6: the encoder's vectors of 24 different training images "
                r"are not finite; start a "
                r"new run with a lower optimiser.learning_rate \(10000 here, 0.03 in the recipe\)"
            ),
        ),
    ],
)
def test_a_collapsed_training_stops_at_once_and_says_what_to_lower(
    optimiser: dict[str, Any], words: str, tiny_settings: dict[str, Any], tmp_path: Path
):
    config = settings(tiny_settings, optimiser=optimiser)
    with pytest.raises(FgembedError, match=f"the training has {words}") as stop:
        train(config, tmp_path / "runs" / "r")
    last = json.loads((tmp_path / "runs/r/metrics.jsonl").read_text().splitlines()[-1])
    assert {"step", "contrast", SPREAD, RANK} <= last.keys()
    with pytest.raises(FgembedError) as again:
        train(config, tmp_path / "runs" / "r")
    assert str(stop.value) in str(again.value)


def tiny_command(tiny_settings: dict[str, Any], *assignments: str) -> list[str]:
    """The arguments of a MoCo training on drawn images."""
    tiny = ("workers=0", "backbone.weights=random", "preprocessing.size=64", "device=cpu",
            "optimiser.batch_size=8", "method.queue_size=16", "pooling.whitening=16")  # fmt: skip
    options = [part for text in (*tiny, *assignments) for part in ("--set", text)]
    images = str(tiny_settings["images"])
    return ["train", "--method", "moco", "--images", images, "--backbone", TINY, *options]


def test_a_collapsed_run_is_neither_resumed_nor_exported(
    command: Command, tiny_settings: dict[str, Any]
):
    remedy = "; start a new run with a lower optimiser.learning_rate (1000 here, 0.03 in the"
    done = command(*tiny_command(tiny_settings, "optimiser.learning_rate=1000"))
    refused(done, 1, "the training has collapsed at step", remedy)
    for arguments in (("train", "--resume"), ("export",), ("evaluate", "moco-1")):
        again = command(*arguments)
        refused(again, 1, "moco-1 cannot be used or resumed: the training has collapsed", remedy)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(METHODS))
def test_sound_trainings_of_every_method_are_not_stopped(
    name: str, tiny_settings: dict[str, Any], tmp_path: Path
):
    plain = {key: value for key, value in tiny_settings.items() if key != "eval"}
    method_class = method_named(name)
    small = {"queue_size": 16} | tiny_teacher()
    own = {key: small[key] for key in small if key in method_class.Config.model_fields}
    backbone = {"name": TINY_VIT if method_class.needs_attention else TINY, "weights": "random"}
    changes = {"method": {"name": name} | own, "backbone": backbone}
    learning = {"optimiser": {"epochs": 2, "batch_size": 8}}
    train(resolve(plain, changes | learning, "tests"), tmp_path / "r")
    figures = logged(tmp_path / "r" / "metrics.jsonl", (SPREAD, RANK))
    if name == "none":
        assert figures == []
        return
    assert [step for step, *_ in figures] == [0, 1, 2, 3, 5]  # after 1, 2, 4, and at both ends
    assert all(0.02 < spread < 1 and 2 < rank < 24 for _, spread, rank in figures)


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


def test_what_differs_from_the_recipe_is_named_and_else_the_learning_rate(
    tiny_settings: dict[str, Any],
):
    def words(**extra: Any) -> str:
        config = settings(tiny_settings, **extra)
        return milder(config, make_method(config, method_named("moco")))

    assert words() == "a lower optimiser.learning_rate (0.01 here), such as 0.001"
    harsh = {"learning_rate": 3.0, "momentum": 0.99}
    assert words(optimiser=harsh, method={"name": "moco", "temperature": 9.0}) == (
        "a lower optimiser.learning_rate (3 here, 0.03 in the recipe) and "
        "a lower optimiser.momentum (0.99 here, 0.9 in the recipe) and "
        "method.temperature set back to 0.2 (9 here)"
    )
    assert words(optimiser={"name": "adamw", "learning_rate": 0.03}) == (
        "a lower optimiser.learning_rate (0.03 with adamw here, 0.03 with sgd in the recipe)"
    )


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


def test_a_resume_says_that_the_run_is_finished(command: Command, tiny_settings: dict[str, Any]):
    new = command(*tiny_command(tiny_settings, "optimiser.epochs=1"))
    assert new.code == 0, new.err
    assert "continues" not in new.err
    again = command("train", "--resume")
    assert "all 1 epochs of moco-1 are trained and it is finished" in again.err
    assert 'export it with "fgembed export moco-1", or train anew with "fgembed train"' in again.err


def test_a_resume_says_where_it_continues(tmp_path: Path):
    run = RunFolder(tmp_path / "moco-1")
    assert where_it_continues(run, 0, 12, 4) == (
        "moco-1 has no checkpoint yet: it begins with epoch 1 of 4"
    )
    for done, words in [
        (2, "epoch 1 of 4 (step 3"),
        (3, "epoch 2 of 4 (step 4"),
        (11, "epoch 4 of 4 (step 12"),
    ]:
        assert where_it_continues(run, done, 12, 4) == f"continues moco-1 at {words} of 12)"
    assert where_it_continues(run, 12, 12, 4) == (
        "all 4 epochs of moco-1 are trained; what is left: whitening and measuring"
    )
