"""The settings with which a run begins."""

from typing import Any

import pytest

import fgembed.backbones.from_timm as library
from fgembed.config import RunConfig
from fgembed.images.preprocessing import IMAGENET_MEAN
from fgembed.methods.table import method_named
from fgembed.resolve import resolve
from fgembed.training.preparation import prepare
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
