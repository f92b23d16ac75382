"""Linear probes: the update written out in numpy, and cases with an exact answer."""

import numpy as np
import pytest
import torch

from fgembed.evaluation.linear_probe import BATCH, PROBES, LinearProbe, Recipe, stratified


def by_hand(
    probe: LinearProbe, vectors: np.ndarray, targets: np.ndarray, batches: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias after SGD with momentum 0.9 on softmax cross-entropy, batch by batch."""
    weight = probe.weight.detach().numpy().astype(float)
    bias = probe.bias.detach().numpy().astype(float)
    weight_speed, bias_speed = np.zeros_like(weight), np.zeros_like(bias)
    for rows in batches:
        weight_slope, bias_slope = np.zeros_like(weight), np.zeros_like(bias)
        for row in rows:
            exponent = np.exp(weight @ vectors[row] + bias)
            share = exponent / exponent.sum()
            share[targets[row]] -= 1
            weight_slope += np.outer(share, vectors[row]) / len(rows)
            bias_slope += share / len(rows)
        weight_speed = 0.9 * weight_speed + weight_slope
        bias_speed = 0.9 * bias_speed + bias_slope
        weight = weight - probe.recipe.learning_rate * weight_speed
        bias = bias - probe.recipe.learning_rate * bias_speed
    return weight, bias


def drawn(count: int, dimensions: int = 3, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    vectors = torch.randn(count, dimensions, generator=generator)
    targets = torch.randint(classes, (count,), generator=generator)
    return torch.nn.functional.normalize(vectors, dim=1), targets


def trained(recipe: Recipe, vectors: torch.Tensor, targets: torch.Tensor) -> LinearProbe:
    probe = LinearProbe(recipe, vectors.shape[1], int(targets.max()) + 1, seed=0)
    for epoch in range(100):
        probe.train_epoch(vectors, targets, torch.arange(len(targets)), epoch)
    return probe


def test_three_steps_of_one_batch_are_those_written_out():
    vectors, targets = drawn(6)
    probe = LinearProbe(PROBES["lcr"], 3, 2, seed=1)
    weight, bias = by_hand(probe, vectors.numpy(), targets.numpy(), [np.arange(6)] * 3)
    for epoch in range(3):
        probe.train_epoch(vectors, targets, torch.arange(6), epoch)
    np.testing.assert_allclose(probe.weight.detach(), weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probe.bias.detach(), bias, rtol=1e-4, atol=1e-5)


def test_an_epoch_is_a_shuffle_in_batches_of_256_the_last_one_smaller():
    vectors, targets = drawn(BATCH + 44)
    probe = LinearProbe(PROBES["papn"], 3, 2, seed=1)
    order = torch.randperm(BATCH + 44, generator=probe.random.clone_state()).numpy()
    batches = [order[:BATCH], order[BATCH:]]
    weight, bias = by_hand(probe, vectors.numpy(), targets.numpy(), batches)
    probe.train_epoch(vectors, targets, torch.arange(BATCH + 44), 0)
    np.testing.assert_allclose(probe.weight.detach(), weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(probe.bias.detach(), bias, rtol=1e-4, atol=1e-6)


def test_a_probe_starts_from_small_random_weights_and_no_bias():
    probe = LinearProbe(PROBES["lcr"], 200, 50, seed=0)
    assert float(probe.weight.detach().std()) == pytest.approx(0.01, rel=0.03)
    assert probe.bias.tolist() == [0.0] * 50


def test_the_rate_falls_to_a_tenth_at_60_and_80_or_follows_a_cosine():
    lcr = [PROBES["lcr"].rate(epoch) for epoch in (0, 59, 60, 79, 80, 99)]
    assert lcr == pytest.approx([30, 30, 3, 3, 0.3, 0.3])
    assert [PROBES["lodisc"].rate(epoch) for epoch in (0, 50)] == pytest.approx([0.5, 0.25])
    papn = [PROBES["papn"].rate(epoch) for epoch in (0, 25, 99)]
    assert papn == pytest.approx([0.03, 0.03 * (1 + 0.5**0.5) / 2, 0.03 * 0.000247], rel=1e-2)


@pytest.mark.parametrize("name", list(PROBES))
def test_perfect_clusters_are_told_apart(name: str):
    targets = torch.arange(4).repeat(20)
    vectors = torch.eye(4)[targets]
    probe = trained(PROBES[name], vectors, targets)
    assert probe.correct(vectors, targets, 1).tolist() == [1.0] * 80


def test_random_labels_are_guessed_by_chance():
    vectors, targets = drawn(1000, dimensions=8, classes=4)
    probe = trained(PROBES["lcr"], vectors[:500], targets[:500])
    assert probe.correct(vectors[500:], targets[500:], 1).mean() == pytest.approx(0.25, abs=0.05)


def test_the_first_k_count_and_an_unknown_class_never_does():
    probe = LinearProbe(PROBES["lcr"], 6, 6, seed=0)
    with torch.no_grad():
        probe.weight.copy_(torch.diag(torch.arange(6.0)))
    vectors = torch.ones(4, 6)  # logits 0, 1, 2, 3, 4, 5
    truth = torch.tensor([5, 1, 0, -1])
    assert probe.correct(vectors, truth, 1).tolist() == [1, 0, 0, 0]
    assert probe.correct(vectors, truth, 5).tolist() == [1, 1, 0, 0]
    assert probe.correct(vectors, truth, 9).tolist() == [1, 1, 1, 0]


def test_few_labels_are_a_share_of_each_class_and_at_least_one():
    labels = np.repeat(["a", "b", "c"], [10, 5, 1])
    for share, counts in ((0.2, [2, 1, 1]), (0.5, [5, 3, 1])):
        rows = stratified(labels, share, seed=0)
        assert [int((labels[rows] == name).sum()) for name in "abc"] == counts
        assert len(set(rows.tolist())) == sum(counts)
        assert rows.tolist() == stratified(labels, share, seed=0).tolist()
    draws = {tuple(stratified(labels, 0.5, seed).tolist()) for seed in range(3)}
    assert len(draws) == 3


def test_a_probe_trains_on_its_sample_alone():
    vectors, targets = drawn(6)
    sample = torch.tensor([1, 4])
    probe = LinearProbe(PROBES["papn"], 3, 2, seed=1)
    weight, bias = by_hand(probe, vectors.numpy(), targets.numpy(), [sample.numpy()])
    probe.train_epoch(vectors, targets, sample, 0)
    np.testing.assert_allclose(probe.weight.detach(), weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(probe.bias.detach(), bias, rtol=1e-4, atol=1e-6)
