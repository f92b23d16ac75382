"""Answers to what varies: what they set, what is set before them, and what views become."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fgembed.config import RunConfig, ViewSettings, read_config, write_config
from fgembed.data.views import TwoViews
from fgembed.errors import ConfigError
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.table import METHODS, method_named
from fgembed.questions import QUESTIONS, Answer, Answers
from fgembed.resolve import recipe_names, resolve

SPEC = Preprocessing(size=32)
STD, MEAN = (torch.tensor(channel).view(3, 1, 1) for channel in (SPEC.std, SPEC.mean))


def answered(recipe: str = "default", **answers: str) -> RunConfig:
    return resolve({"recipe": recipe, "things": answers}, {}, "tests")


def pixels_of(views: ViewSettings, image: Image.Image, count: int = 100) -> torch.Tensor:
    """(N, 3, H, W) in [0, 1]: first and second views in turn."""
    torch.manual_seed(0)
    make = TwoViews(views, SPEC)
    return torch.stack([view * STD + MEAN for _ in range(count) for view in make(image)])


def test_each_question_has_an_answer_in_the_settings_that_is_unknown_at_first():
    assert {question.key: Answer.unknown for question in QUESTIONS} == vars(Answers())
    assert RunConfig().things == Answers()


@pytest.mark.parametrize("name", recipe_names())
def test_without_answers_a_recipe_is_as_it_was(name: str):
    unknown = {question.key: "unknown" for question in QUESTIONS}
    assert answered(name, **unknown) == answered(name)
    indifferent = answered(name, turns="no", mirror="yes", size="no")
    assert (indifferent.views, indifferent.pooling) == (
        answered(name).views,
        answered(name).pooling,
    )


@pytest.mark.parametrize("name", recipe_names())
def test_an_answer_comes_before_every_recipe(name: str):
    views = answered(name, colour="no", turns="yes", mirror="no", size="yes").views
    assert (views.hue, views.turn, views.flip_probability) == (0.5, 180, 0)
    assert views.grey_probability >= 0.3
    assert views.jitter >= 0.4
    assert views.crop_scale >= 0.8
    views = answered(name, colour="yes").views
    assert (views.hue, views.grey_probability, views.solarise_probability) == (0, 0, 0)
    assert views.saturation == 0.25
    assert not answered(name, mirror="no").pooling.mirror


def test_what_a_recipe_varies_more_than_an_answer_asks_for_stays(tmp_path: Path):
    recipe = tmp_path / "strong.toml"
    recipe.write_text("[views]\ngrey_probability = 0.6\njitter = 0.7\ncrop_scale = 0.9\n")
    views = answered(str(recipe), colour="no", size="yes").views
    assert (views.grey_probability, views.jitter, views.crop_scale) == (0.6, 0.7, 0.9)


def test_what_the_user_sets_comes_before_an_answer_and_a_flag_s_answer_before_the_file():
    file = {"things": {"colour": "no", "mirror": "no"}, "views": {"hue": 0.1}}
    config = resolve(file, {"pooling": {"mirror": True}}, "tests")
    assert (config.views.hue, config.views.grey_probability) == (0.1, 0.3)
    assert config.pooling.mirror
    assert config.views.flip_probability == 0
    flag = resolve({"views": {"hue": 0.1}}, {"things": {"colour": "no"}}, "tests")
    assert flag.views.hue == 0.5
    both = resolve({}, {"things": {"colour": "no"}, "views": {"hue": 0.1}}, "tests")
    assert both.views.hue == 0.1


def test_a_flag_takes_an_answer_of_the_file_back():
    config = resolve({"things": {"colour": "no"}}, {"things": {"colour": "unknown"}}, "tests")
    assert config == resolve({}, {}, "tests")


def test_saved_settings_keep_answers_and_views_and_rerun_the_same(tmp_path: Path):
    config = answered(colour="no", turns="yes", mirror="no")
    write_config(tmp_path / "config.toml", config)
    saved = read_config(tmp_path / "config.toml")
    assert saved == config
    assert saved.things == Answers(Answer.no, Answer.yes, Answer.no, Answer.unknown)
    again = resolve(saved.model_dump(mode="json", exclude_none=True), {}, "tests")
    assert again == config


@pytest.mark.parametrize(
    ("things", "message"),
    [
        ({"colour": "maybe"}, "things.colour: input should be 'yes', 'no' or 'unknown', got 'mayb"),
        ({"colour": False}, "things.colour: input should be 'yes', 'no' or 'unknown', got False"),
        ({"color": "no"}, "unknown key 'things.color'; did you mean 'colour'"),
    ],
)
def test_wrong_answers_are_refused(things: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        resolve({"things": things}, {}, "fgembed.toml")


def test_where_colour_says_nothing_red_and_blue_views_are_nearly_alike_and_where_it_does_not():
    red, blue = (Image.new("RGB", (40, 40), colour) for colour in ((200, 40, 40), (40, 40, 200)))
    apart = {}
    for colour in ("no", "unknown", "yes"):
        views = answered(colour=colour).views
        means = [pixels_of(views, image).mean(dim=(0, 2, 3)) for image in (red, blue)]
        apart[colour] = float((means[0] - means[1])[[0, 2]].abs().mean())
    assert apart["no"] < 0.25 * apart["unknown"]
    assert apart["yes"] == pytest.approx(160 / 255, rel=0.1)


def test_where_colour_decides_no_view_loses_or_turns_its_hue_even_in_an_asymmetric_pair():
    orange = Image.new("RGB", (40, 40), (220, 140, 60))
    for recipe in ("default", "mocov3-paper"):
        rgb = pixels_of(answered(recipe, colour="yes").views, orange).mean(dim=(2, 3))
        hue = 60 * (rgb[:, 1] - rgb[:, 2]) / (rgb[:, 0] - rgb[:, 2])  # red > green > blue
        saturation = 1 - rgb[:, 2] / rgb[:, 0]
        unclipped = rgb[:, 0] < 0.99
        assert unclipped.sum() > 100
        assert float(hue[unclipped].median()) == pytest.approx(30, abs=0.5)
        assert hue[unclipped].numpy() == pytest.approx(30, abs=15)  # bright ones are clipped midway
        assert float(saturation[unclipped].median()) == pytest.approx(1 - 60 / 220, abs=0.02)
        assert float(saturation.min()) > 0.3  # contrast changes it too; grey would be 0


def test_where_left_and_right_decide_no_view_is_flipped():
    ramp = np.repeat(np.linspace(60, 200, 48).astype(np.uint8)[None, :, None], 48, axis=0)
    image = Image.fromarray(np.broadcast_to(ramp, (48, 48, 3)).copy())
    for mirror, share in (("no", 0.0), ("unknown", 0.5)):
        pixels = pixels_of(answered(mirror=mirror).views, image)
        left, right = (pixels[..., edge].mean(dim=(1, 2, 3)) for edge in (slice(4), slice(-4, 32)))
        flipped = float((right < left).float().mean())
        assert flipped == pytest.approx(share, abs=0.12 if share else 0)


def test_where_things_turn_views_point_anywhere_and_have_no_constant_corner():
    noise = np.random.default_rng(0).integers(100, 256, (64, 64, 3), dtype=np.uint8)
    still = {"jitter": 0, "hue": 0, "blur_probability": 0, "crop_scale": 1.0, "side": 1}
    for turns, turning in (("yes", True), ("no", False)):
        settings = {"things": {"turns": turns}, "views": still}
        views = resolve(settings, {}, "tests").views
        dark = noise.copy()
        dark[:24, :] = 0  # the upper part
        pixels = pixels_of(views, Image.fromarray(dark))[:, 0]
        below = pixels[:, 20:].mean(dim=(1, 2)) < pixels[:, :12].mean(dim=(1, 2))
        assert bool(below.any()) == turning
        plain = pixels_of(views, Image.fromarray(noise))
        assert float(plain.min()) > 0.35  # 100 of 255, and a corner that is filled would be 0


def test_where_size_decides_crops_keep_the_scale():
    checks = np.indices((64, 64)).sum(axis=0) // 8 % 2 * 200 + 20
    image = Image.fromarray(np.repeat(checks.astype(np.uint8)[..., None], 3, axis=2))
    edges = {}
    for size in ("yes", "unknown"):
        sharp = {"jitter": 0, "hue": 0, "blur_probability": 0, "side": 1}
        settings = {"recipe": "neighbours", "things": {"size": size}, "views": sharp}
        views = resolve(settings, {}, "tests").views
        middle = pixels_of(views, image)[:, 0] > 0.43
        edges[size] = (middle[:, :, 1:] != middle[:, :, :-1]).sum(dim=2).float().mean(dim=1)
    assert float(edges["yes"].min()) > 5.5  # 15 diagonal checks, of half the pixels' width
    assert float(edges["unknown"].min()) < 5.0


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_s_views_follow_the_answers(name: str):
    views = resolve({"method": {"name": name}, "things": {"colour": "yes"}}, {}, "tests").views
    noise = np.random.default_rng(0).integers(100, 256, (64, 64, 3), dtype=np.uint8)
    noise[..., 2] = 0
    make = method_named(name).view_maker(views, SPEC)
    torch.manual_seed(0)
    for _ in range(20):
        for view in make(Image.fromarray(noise))[:2]:
            rgb = view * STD + MEAN
            assert float(rgb[:2].mean() - rgb[2].mean()) > 0.3  # still without blue: not grey
