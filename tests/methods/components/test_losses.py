"""Each loss against its formula, written out with loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from fgembed.methods.components.losses import info_nce, map_kl


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_info_nce_equals_the_formula_in_loops():
    query, key, queue, temperature = unit(5, 8, seed=1), unit(5, 8, seed=2), unit(7, 8, seed=3), 0.2
    total = 0.0
    for b in range(5):
        positive = math.exp(float(query[b] @ key[b]) / temperature)
        negatives = sum(math.exp(float(query[b] @ queue[j]) / temperature) for j in range(7))
        total -= math.log(positive / (positive + negatives))
    assert float(info_nce(query, key, queue, temperature)) == pytest.approx(total / 5, rel=1e-5)


def test_info_nce_at_fixed_angles():
    """One positive at cosine 1, one negative at cosine 0, t = 0.5: log(1 + e^-2)."""
    query, queue = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    expected = math.log(1 + math.exp(-2))
    assert float(info_nce(query, query, queue, 0.5)) == pytest.approx(expected, rel=1e-6)


def test_a_query_that_matches_its_key_costs_less_than_a_query_that_matches_the_queue():
    axes = torch.eye(3)
    right = info_nce(axes[:1], axes[:1], axes[1:], 0.2)
    wrong = info_nce(axes[:1], axes[1:2], axes[:1], 0.2)
    assert float(right) < 0.02
    assert float(wrong) > 4.9


def kl_in_loops(target: torch.Tensor, prediction: torch.Tensor, t: float) -> float:
    """KL between softmaxes of two lists."""
    p = [math.exp(float(v) / t) for v in target]
    r = [math.exp(float(v) / t) for v in prediction]
    p, r = [v / sum(p) for v in p], [v / sum(r) for v in r]
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, r, strict=True))


def test_map_kl_equals_the_formula_over_full_maps():
    target, prediction = torch.rand(3, 2, 4), torch.rand(3, 2, 4)
    expected = [kl_in_loops(target[b].flatten(), prediction[b].flatten(), 0.4) for b in range(3)]
    assert float(map_kl(target, prediction, 0.4)) == pytest.approx(sum(expected) / 3, rel=1e-4)
    summed = map_kl(target, prediction, 0.4, reduction="sum")
    assert float(summed) == pytest.approx(sum(expected), rel=1e-4)


def test_map_kl_by_row_makes_every_row_a_distribution():
    target, prediction = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    rows = [kl_in_loops(target[b, i], prediction[b, i], 1.0) for b in range(2) for i in range(3)]
    by_row = map_kl(target, prediction, 1.0, axis="row", reduction="sum")
    assert float(by_row) == pytest.approx(sum(rows), rel=1e-4)
    assert float(map_kl(target, prediction, 1.0, reduction="sum")) != pytest.approx(sum(rows))
