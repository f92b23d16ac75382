"""The table of neighbours in targets, on a few drawn images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.adaptation import neighbour_table
from fgembed.demo.drawing import draw_set


def test_right_neighbours_are_counted_among_all_and_among_mutual_ones():
    """0 and 1 are each other's nearest and of one class; the nearest of 2 is 1, of another."""
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 30.0]))
    vectors = torch.stack([angles.cos(), angles.sin()], dim=1)
    shares = neighbour_table.right_neighbours(vectors, np.array(["a", "a", "b"]))
    assert shares == pytest.approx((200 / 3, 100))


@pytest.mark.slow
def test_the_table_has_a_row_for_each_last_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    draw_set(tmp_path, species=3, train=8, test=2, size=64)
    backbone = ["--backbone", "torchvision/resnet18", "--weights", "random"]
    sides = ["--sides", "64", "96", "--counts", "12"]
    neighbour_table.main([str(tmp_path / "train"), str(tmp_path / "test"), *backbone, *sides])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("[64, 96] px")
    assert lines[2] == "| reading | N = 12 | N = 24 |"
    assert [line.split("|")[1].strip() for line in lines[4:]] == [
        "fitted reading",
        "its teacher predicted",
        "**with neighbours**",
        "with ten neighbours at any N",
        "nearest right / mutual right, %",
    ]
    assert lines[5].split("|")[2:] == lines[6].split("|")[2:]  # none below 200 images
    assert lines[6].split("|")[2:] != lines[7].split("|")[2:]
