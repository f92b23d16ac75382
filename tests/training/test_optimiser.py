"""The schedule by value, and which optimiser takes which parameters."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from fgembed.config import OptimiserSettings
from fgembed.training.optimiser import learning_rate_factor, make_optimisers, set_learning_rates


def test_a_warm_up_of_part_of_a_step_never_overshoots():
    settings = OptimiserSettings(epochs=10, warmup_epochs=0.5)
    assert max(learning_rate_factor(settings, step, 5) for step in range(10)) <= 1


def test_the_cosine_moves_every_step_or_every_epoch():
    by_step = OptimiserSettings(epochs=10)
    assert learning_rate_factor(by_step, 0, 5) == pytest.approx(1.0)
    assert learning_rate_factor(by_step, 25, 5) == pytest.approx(0.5)
    expected = 0.5 * (1 + math.cos(math.pi * 12 / 50))
    assert learning_rate_factor(by_step, 12, 5) == pytest.approx(expected)
    by_epoch = by_step.model_copy(update={"decay": "epoch"})
    assert learning_rate_factor(by_epoch, 14, 5) == learning_rate_factor(by_epoch, 10, 5)
    expected = 0.5 * (1 + math.cos(math.pi * 0.2))
    assert learning_rate_factor(by_epoch, 14, 5) == pytest.approx(expected)


def test_warm_up_rises_to_the_full_rate():
    settings = OptimiserSettings(epochs=10, warmup_epochs=2)
    factors = [learning_rate_factor(settings, step, 5) for step in (0, 4, 9)]
    assert factors == pytest.approx([0.1, 0.5, 1.0])


def test_the_cosine_begins_where_the_warm_up_ends():
    settings = OptimiserSettings(epochs=10, warmup_epochs=2)
    assert learning_rate_factor(settings, 10, 5) == pytest.approx(1.0)
    assert learning_rate_factor(settings, 30, 5) == pytest.approx(0.5)  # half way from 10 to 50
    assert learning_rate_factor(settings, 11, 5) == pytest.approx(
        0.5 * (1 + math.cos(math.pi / 40))
    )


class Groups(nn.Module):
    """The part of a method that an optimiser sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(2)) for _ in range(3)])

    def parameter_groups(self) -> list[dict[str, Any]]:
        encoder, head, decoder = self.weights
        return [
            {"params": [encoder], "scaled": True},
            {"params": [head], "scaled": False},
            {"params": [decoder], "adam": 0.001},
        ]


def test_every_group_takes_its_optimiser_and_rate():
    groups: Any = Groups()
    settings = OptimiserSettings(learning_rate=0.4, encoder_scale=0.1, momentum=0, weight_decay=0)
    optimisers = make_optimisers(groups, settings)
    set_learning_rates(optimisers, 0.5)
    for weight in groups.weights:
        weight.grad = torch.full((2,), 3.0)
    for optimiser in optimisers:
        optimiser.step()
    encoder, head, decoder = (weight.detach()[0].item() for weight in groups.weights)
    assert encoder == pytest.approx(1 - 0.5 * 0.04 * 3)
    assert head == pytest.approx(1 - 0.5 * 0.4 * 3)
    assert decoder == pytest.approx(1 - 0.5 * 0.001)  # Adam's first step is its rate
