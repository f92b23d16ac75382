"""An evenly spaced sample covers the sequence and never takes an item twice."""

import numpy as np
import pytest

from fgembed.embedding.sampling import evenly_spaced


@pytest.mark.parametrize(
    ("count", "sample_size", "expected"),
    [(0, 3, []), (5, 0, []), (5, 1, [0]), (5, 2, [0, 4]), (7, 3, [0, 3, 6]), (2, 9, [0, 1])],
)
def test_the_sample_is_spread_from_the_first_item_to_the_last(
    count: int, sample_size: int, expected: list[int]
):
    assert evenly_spaced(count, sample_size).tolist() == expected


@pytest.mark.parametrize("count", [10, 97, 1000, 99_991])
def test_gaps_differ_by_one_at_most(count: int):
    for sample_size in range(2, min(count, 300)):
        gaps = np.diff(evenly_spaced(count, sample_size))
        assert len(gaps) == sample_size - 1
        assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1
