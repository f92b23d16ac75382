"""What is measured before a run, and the settings that a pick becomes."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fgembed.config import RunConfig
from fgembed.errors import FgembedError
from fgembed.methods.table import method_named
from fgembed.resolve import resolve
from fgembed.training.costs.encoders import AT_LARGER, EXPORTED, encoder_costs
from fgembed.training.costs.estimate import DECODED, measured_rates, with_pick, workload
from fgembed.training.costs.stages import Workload
from fgembed.training.pace import Pace
from fgembed.training.preparation import Prepared, prepare
from tests.conftest import TINY_VIT


def settings(tiny_settings: dict[str, Any], **extra: Any) -> RunConfig:
    learning = {"optimiser": {"epochs": 3, "batch_size": 8}}
    return resolve(tiny_settings | {"method": {"name": "distill"}} | learning, extra, "tests")


def prepared_for(config: RunConfig) -> Prepared:
    return prepare(config, method_named(config.method.name))


def test_the_work_is_that_of_the_settings(tiny_settings: dict[str, Any]):
    prepared = prepared_for(settings(tiny_settings, pooling={"mirror": False, "larger": 1.5}))
    assert workload(prepared, 20) == Workload(
        images=20, labelled=24 + 9, epochs=3, teacher_sizes=(1.0, 1.4), larger=1.5,
        start_mirror=prepared.start.reading.mirror, mirror=False,
    )  # fmt: skip
    untrained = prepared_for(settings(tiny_settings, method={"name": "none"}))
    assert (workload(untrained, 24).epochs, workload(untrained, 24).teacher_sizes) == (0, ())


@pytest.mark.parametrize(("select", "scored"), [("last", 0), ("holdout", 24), ("test", 33)])
def test_an_epoch_is_its_steps_and_what_is_embedded_after_it(
    tiny_settings: dict[str, Any], select: str, scored: int
):
    prepared = prepared_for(settings(tiny_settings, select=select, pooling={"mirror": False}))
    encoders = encoder_costs(prepared, prepared.paths)
    rates = measured_rates(prepared, prepared.paths, encoders, Pace(2.0, 0.5, 6))
    assert rates.plain_s == 1 / encoders[EXPORTED].speed.images_per_s
    assert rates.epoch_s == pytest.approx(3 * 2.5 + 2 * (scored + 24) * rates.read_s(mirror=False))
    assert measured_rates(prepared, prepared.paths, encoders, None).epoch_s == 0


class Slow:
    """A teacher that takes a tenth of a second for any images."""

    def __init__(self) -> None:
        self.asked = 0

    def fit(self, paths: Sequence[Path]) -> torch.Tensor:
        time.sleep(0.1)
        self.asked += len(paths)
        raise FgembedError("too few differ", "give more")

    def read(self, paths: Sequence[Path]) -> torch.Tensor:
        raise AssertionError


def test_other_teachers_are_timed_on_a_few_images(tiny_settings: dict[str, Any]):
    prepared, teacher = prepared_for(settings(tiny_settings)), Slow()
    encoders = encoder_costs(prepared, prepared.paths)
    paths, pace = prepared.paths, Pace(2.0, 0.5, 6)
    assert measured_rates(prepared, paths, encoders, pace).others_s == 0
    rates = measured_rates(prepared, paths, encoders, pace, [teacher, teacher])
    assert teacher.asked == 2 * min(len(paths), DECODED)
    assert rates.others_s >= 2 * 0.1 / min(len(paths), DECODED)


def test_measuring_changes_nothing_of_the_run(tiny_settings: dict[str, Any]):
    prepared = prepared_for(settings(tiny_settings))
    prepared.method.train()
    before = {name: value.clone() for name, value in prepared.method.state_dict().items()}
    state = torch.get_rng_state()
    encoders = encoder_costs(prepared, prepared.paths)
    measured_rates(prepared, prepared.paths, encoders, None)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[k]) for k, value in prepared.method.state_dict().items())
    assert prepared.method.encoder.backbone.training


def test_a_backbone_of_one_size_has_no_larger_sibling(tiny_settings: dict[str, Any]):
    config = settings(tiny_settings, backbone={"name": TINY_VIT}, preprocessing={"size": 32})
    prepared = prepared_for(config)
    encoders = encoder_costs(prepared, prepared.paths)
    assert AT_LARGER not in encoders
    assert [cost.name for cost in encoders.values()] == [
        "as it will be exported", "without the mirror image", "mean pooling alone",
    ]  # fmt: skip


def test_an_encoder_without_the_mirror_image_has_a_sibling_with_it(tiny_settings: dict[str, Any]):
    prepared = prepared_for(settings(tiny_settings, pooling={"mirror": False}))
    told = [(c.name, c.mirror) for c in encoder_costs(prepared, prepared.paths).values()]
    assert told[:2] == [("as it will be exported", False), ("with the mirror image", True)]


def test_a_pick_becomes_ordinary_settings(tiny_settings: dict[str, Any]):
    asked = settings(tiny_settings, select="holdout")
    picked = with_pick(asked, Workload(24, 33, epochs=2, teacher_sizes=(1.2,)))
    assert (picked.optimiser.epochs, picked.method.model_dump()) == (
        2, asked.method.model_dump() | {"sizes": (1.2,)},
    )  # fmt: skip
    assert picked.select == "holdout"
    moco = settings(tiny_settings, method={"name": "moco", "queue_size": 16})
    assert with_pick(moco, Workload(24, 33, epochs=1)).method == moco.method


def test_a_pick_without_an_epoch_is_the_fitted_start(tiny_settings: dict[str, Any]):
    config = with_pick(settings(tiny_settings), Workload(24, 33, epochs=0, teacher_sizes=(1.4,)))
    prepared = prepared_for(config)
    assert (config.method.name, workload(prepared, 24).epochs) == ("none", 0)
    assert prepared.method.encoder.pooling.kind == prepared.start.pooling.kind


def test_a_learned_pooling_goes_with_the_training_that_does_not_fit(tiny_settings: dict[str, Any]):
    learned = {"kind": "rationale"}
    asked = settings(tiny_settings, method={"name": "lcr", "queue_size": 16}, pooling=learned)
    picked = with_pick(asked, Workload(24, 33, epochs=0))
    assert prepared_for(picked).method.encoder.pooling.kind == "gem"
