"""The step-cost benchmark: its arithmetic, and one small measurement."""

from argparse import Namespace
from typing import Any

import pytest

from benchmarks.step_cost import measure, summary
from fgembed.errors import ConfigError
from fgembed.methods.lcr import LCR
from tests.conftest import TINY


def arguments(**extra: Any) -> Namespace:
    usual: dict[str, Any] = {
        "backbone": TINY, "size": 32, "batch": 4, "threads": 1, "rounds": 2, "device": "cpu",
        "precision": "float32", "methods": ["lcr", "none"], "assign": [],
    }  # fmt: skip
    return Namespace(**(usual | extra))


def test_the_ratio_is_the_median_over_rounds_not_of_medians():
    """Rounds of 1, 2 and 10 s for the base: ratios 2, 3 and 0.5."""
    found = summary({"moco": [1.0, 2.0, 10.0], "other": [2.0, 6.0, 5.0]})
    assert found["moco"] == {"step_s": 2.0, "ratio": 1.0, "ratio_quartiles": [1.0, 1.0]}
    assert found["other"] == {"step_s": 5.0, "ratio": 2.0, "ratio_quartiles": [1.25, 2.5]}


def test_methods_are_built_from_their_recipes_the_base_first():
    found = measure(arguments(assign=["lcr.queue_size=8", "lcr.weight=2"]))
    assert list(found["methods"]) == ["moco", "lcr"]
    assert [one["recipe"] for one in found["methods"].values()] == ["moco", "lcr"]
    assert found["methods"]["moco"]["ratio"] == 1.0
    assert found["methods"]["lcr"]["step_s"] > 0
    assert found["skipped"] == {"none": "trains nothing"}


def test_a_method_for_transformers_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LCR, "needs_attention", True)
    found = measure(arguments(methods=["lcr"]))
    assert found["skipped"] == {"lcr": f"needs a vision transformer, {TINY} is none"}


def test_a_setting_of_a_method_that_is_not_measured_is_refused():
    with pytest.raises(ConfigError, match="--set names 'lcrr', which is not measured"):
        measure(arguments(assign=["lcrr.weight=2"]))
