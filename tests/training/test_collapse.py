"""A collapse is seen while it happens, and the message names what the user can change."""

import json
from pathlib import Path
from typing import Any

import pytest

from fgembed.errors import FgembedError
from fgembed.methods.table import METHODS, method_named
from fgembed.resolve import resolve
from fgembed.training.collapse import milder
from fgembed.training.metrics_log import logged
from fgembed.training.preparation import make_method
from fgembed.training.spread import RANK, SPREAD
from tests.conftest import TINY, TINY_VIT, Command
from tests.end_to_end.refusals import refused
from tests.teachers import tiny_teacher
from tests.training.tiny_training import settings, tiny_command, train


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
