"""Criteria without labels on hand-made vectors, and the table on a few drawn images."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.adaptation import criteria, criterion_table
from benchmarks.adaptation.criterion_table import Comparison
from fgembed.demo.drawing import draw_set


def seen(both: torch.Tensor, other: torch.Tensor | None = None) -> criteria.Seen:
    return criteria.Seen(both, both, both if other is None else other, both)


def on_a_circle(*degrees: float) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@pytest.fixture
def scattered() -> torch.Tensor:
    return F.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(1)), dim=1)


def test_mutual_pairs_are_counted():
    """The nearest of 0 and 10 are each other, that of 30 is 10."""
    assert criteria.mutual_pairs(seen(on_a_circle(0, 10, 30))) == pytest.approx(2 / 3)


def test_an_image_that_is_near_to_all_is_a_hub(scattered: torch.Tensor):
    leaning = scattered.clone()
    leaning[0] = F.normalize(scattered.mean(dim=0), dim=0) * 3  # has a high cosine with most
    leaning[1:] += 0.5 * F.normalize(scattered.mean(dim=0), dim=0)
    with_hub = seen(F.normalize(leaning, dim=1))
    assert criteria.few_hubs(with_hub) < criteria.few_hubs(seen(scattered))


def test_agreement_is_whole_with_itself_and_by_chance_with_another(scattered: torch.Tensor):
    assert criteria.overlap(scattered, scattered) == 1
    chance = criteria.overlap(scattered, scattered.flip(0))
    assert chance == pytest.approx(10 / 59, abs=0.05)
    figure = criteria.CRITERIA["ten nearest of image and mirror image"]
    assert figure(seen(scattered, scattered.flip(0))) == chance


def test_halves_of_the_dimensions_agree_where_few_directions_decide(scattered: torch.Tensor):
    few = torch.cat([scattered[:, :2], 0.1 * scattered[:, 2:]], dim=1)
    assert criteria.halves(seen(F.normalize(few, dim=1))) > criteria.halves(seen(scattered))


def test_groups_stand_out_by_contrast(scattered: torch.Tensor):
    groups = F.normalize(scattered[:6].repeat(10, 1) + 0.1 * scattered, dim=1)
    assert criteria.contrast(seen(groups)) > criteria.contrast(seen(scattered))


def test_missed_harm_and_refused_gain_are_counted():
    def comparison(gain: float, change: float) -> Comparison:
        return Comparison("", np.full((3, 50), gain), [change] * len(criteria.CRITERIA))

    told = [comparison(-5, -0.1), comparison(-2, 0.1), comparison(3, 0.2), comparison(0, -0.3)]
    lines = criterion_table.table(told).splitlines()
    assert lines[0].endswith("missed of 2 worse | refused of 1 better |")
    assert all(line.endswith("| 0.40 | 0.40 | 1 | 0 |") for line in lines[2:])


def test_a_loss_in_one_measure_is_a_loss():
    gains = np.stack([np.full(50, 4.0), np.full(50, 1.0), np.full(50, -0.5)])
    mixed = Comparison("", gains, [])
    assert mixed.is_worse
    assert not mixed.is_better


def test_equal_values_share_a_rank():
    np.testing.assert_array_equal(criterion_table.rank([3, 1, 3, 2]), [3.5, 1, 3.5, 2])


@pytest.mark.slow
def test_a_run_is_compared_with_its_start(run: Path):
    found = criterion_table.of_run(run)
    assert found.name == f"lcr: {run.name}"
    assert found.gains.shape == (3, 9)
    assert any(found.changes)


@pytest.mark.slow
def test_the_table_compares_readings_of_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    draw_set(tmp_path, species=3, train=8, test=4, size=64)
    backbone = ["--backbone", "torchvision/resnet18", "--weights", "random", "--size", "64"]
    criterion_table.main(["--sets", str(tmp_path), *backbone, "--counts", "12", "--cells"])
    lines = capsys.readouterr().out.splitlines()
    assert sum("N = 12" in line for line in lines) == 3 * 6
    assert sum("N = 24" in line for line in lines) == 6
    assert sum(line.startswith("| mutual nearest pairs |") for line in lines) == 1
