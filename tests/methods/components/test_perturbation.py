"""The perturbation against its formulas, written out with loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from fgembed.methods.components.perturbation import (
    clamped_like,
    deviation,
    importance,
    lowest,
    perturbed_dimensions,
    random_cycle,
    with_noise,
    with_replacement,
)


def case(batch: int = 5, length: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    code = torch.rand(batch, length, generator=generator)
    return code, torch.randn(batch, length, generator=generator)


def test_deviation_equals_the_formula_in_loops():
    codes, _ = case(6, 4)
    for k in range(4):
        column = [float(value) for value in codes[:, k]]
        mean = sum(column) / 6
        expected = math.sqrt(sum((value - mean) ** 2 for value in column) / 6)
        assert float(deviation(codes)[k]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_the_lowest_are_those_up_to_the_quantile(share: float):
    values, _ = case(4, 11, seed=3)
    marks = lowest(values, share)
    for b in range(4):
        ordered = sorted(values[b].tolist())
        rank = share * 10
        low, high = ordered[math.floor(rank)], ordered[math.ceil(rank)]
        quantile = low + (rank - math.floor(rank)) * (high - low)
        assert marks[b].tolist() == [value <= quantile for value in values[b].tolist()]


def test_dead_dimensions_tie_and_all_are_in():
    values = torch.tensor([0.0, 3.0, 0.0, 0.0, 2.0, 0.0])
    assert lowest(values, 0.3).tolist() == [True, False, True, True, False, True]
    assert lowest(torch.zeros(6), 0.3).all()


@pytest.mark.parametrize("kind", ["product", "gradient", "positive"])
def test_importance_equals_the_formula_in_loops(kind: str):
    code, gradient = case()
    scores = importance(code, gradient, kind)  # type: ignore[arg-type]
    for b in range(5):
        for k in range(12):
            h, slope = float(code[b, k]), float(gradient[b, k])
            expected = {
                "product": abs(h * slope),
                "gradient": abs(slope),
                "positive": max(0.0, h * slope),
            }[kind]
            assert float(scores[b, k]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ("variance", [True, True, False, False]),
        ("gradient", [True, False, True, False]),
        ("or", [True, True, True, False]),
        ("and", [True, False, False, False]),
    ],
)
def test_the_two_criteria_select_the_dimensions(dims: str, expected: list[bool]):
    low_variance = torch.tensor([True, True, False, False])
    unimportant = torch.tensor([[True, False, True, False], [False] * 4])
    mask = perturbed_dimensions(low_variance, unimportant, dims)  # type: ignore[arg-type]
    assert mask.shape == (2, 4)
    assert mask[0].tolist() == expected


def test_noise_is_added_to_selected_dimensions_at_a_common_scale():
    code, gradient = case()
    mask = gradient > 0
    torch.manual_seed(4)
    moved = with_noise(code, mask, torch.tensor(0.25))
    torch.manual_seed(4)
    noise = torch.randn(5, 12)
    for b in range(5):
        for k in range(12):
            expected = float(code[b, k]) + (0.25 * float(noise[b, k]) if mask[b, k] else 0)
            assert float(moved[b, k]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_every_image_gets_another_image_and_all_are_used(count: int):
    for seed in range(20):
        torch.manual_seed(seed)
        sources = random_cycle(count, torch.device("cpu")).tolist()
        assert sorted(sources) == list(range(count))
        assert all(source != row for row, source in enumerate(sources))


def test_replaced_values_are_those_of_a_single_other_image():
    code, gradient = case()
    mask = gradient > 0
    torch.manual_seed(4)
    moved = with_replacement(code, mask)
    torch.manual_seed(4)
    sources = random_cycle(5, torch.device("cpu"))
    for b in range(5):
        for k in range(12):
            assert moved[b, k] == (code[sources[b], k] if mask[b, k] else code[b, k])


def test_codes_stay_non_negative_only_where_they_were():
    code, gradient = case()
    torch.testing.assert_close(clamped_like(gradient, code), F.relu(gradient))
    torch.testing.assert_close(clamped_like(gradient, code - 0.5), gradient)
