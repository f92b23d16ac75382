"""The settings with which a run begins."""

from typing import Any

import pytest

import fgembed.backbones.from_timm as library
from fgembed.config import RunConfig
from fgembed.evaluation.floors import Floors
from fgembed.images.preprocessing import IMAGENET_MEAN
from fgembed.methods.synpair import SynPair
from fgembed.methods.table import method_named
from fgembed.resolve import resolve
from fgembed.training.preparation import make_method, prepare
from tests.conftest import TINY_VIT

HALF = (0.5, 0.5, 0.5)


def prepared(tiny_settings: dict[str, Any], **preprocessing: Any) -> RunConfig:
    settings = tiny_settings | {
        "backbone": {"name": TINY_VIT, "weights": "pretrained"},
        "preprocessing": {"size": 64} | preprocessing,
    }
    return prepare(resolve(settings, {"recipe": "none"}, "tests"), method_named("none")).config


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights as if downloaded."""

    def at_random(self: Any, name: str) -> Any:
        return dict(self.trunk(name, 64).state_dict())

    monkeypatch.setattr(type(library.FAMILY), "published", at_random)
    monkeypatch.setattr(type(library.FAMILY), "fit", lambda self, trunk, state: state)


@pytest.mark.usefixtures("published")
def test_published_weights_bring_their_normalisation_unless_one_is_set(
    tiny_settings: dict[str, Any],
):
    config = prepared(tiny_settings)
    assert (config.preprocessing.mean, config.preprocessing.std) == (HALF, HALF)
    config = prepared(tiny_settings, mean=[0.4, 0.4, 0.4])
    assert config.preprocessing.mean == (0.4, 0.4, 0.4)


def test_random_weights_keep_the_default(tiny_settings: dict[str, Any]):
    config = prepare(resolve(tiny_settings, {"recipe": "none"}, "tests"), method_named("none"))
    assert config.config.preprocessing.mean == IMAGENET_MEAN


@pytest.mark.parametrize("recipe", ["default", "none", "moco-paper", "synpair"])
def test_where_the_mirror_image_is_another_thing_neither_run_nor_floor_is_mirrored(
    tiny_settings: dict[str, Any], recipe: str
):
    settings = {**tiny_settings, "pooling": {}, "preprocessing": {"size": 64}, "recipe": recipe}
    for answer, mirrors in (("no", False), ("unknown", True)):
        config = resolve(settings, {"things": {"mirror": answer}}, "tests")
        ready = prepare(config, method_named(config.method.name))
        assert ready.method.encoder.reading.mirror == (mirrors and recipe != "moco-paper")
        floors = Floors(ready.start, config.preprocessing)
        assert any(floor.encoder.reading.mirror for floor in floors.readings) == mirrors
        assert ready.start.reading.mirror == mirrors


def test_a_reading_that_is_set_to_mirror_is_measured_against_one_that_does(
    tiny_settings: dict[str, Any],
):
    settings = tiny_settings | {"recipe": "none", "things": {"mirror": "no"}}
    config = resolve(settings, {"pooling": {"mirror": True}}, "tests")
    assert prepare(config, method_named("none")).start.reading.mirror


def test_synpair_s_own_views_follow_the_answers(tiny_settings: dict[str, Any]):
    answers = {"things": {"mirror": "no", "size": "yes"}}
    config = resolve(tiny_settings | {"recipe": "synpair"}, answers, "tests")
    method = make_method(config, SynPair)
    assert isinstance(method, SynPair)
    assert (method.smallest_crop, method.flip_probability) == (0.8, 0)
