"""Multi-level pooling by value."""

import math

import pytest
import torch

from fgembed.config import PoolingSettings
from fgembed.model.reading.multi_level import (
    MultiLevelPooling,
    Reading,
    mean_and_deviation,
    reading_of,
)


def test_a_level_gives_its_mean_and_deviation_over_positions():
    features = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    pooled = mean_and_deviation(features)
    for image in range(2):
        for channel in range(3):
            values = features[image, channel].flatten().tolist()
            mean = sum(values) / 20
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 20)
            assert pooled[image, channel].item() == pytest.approx(mean, abs=1e-6)
            assert pooled[image, 3 + channel].item() == pytest.approx(deviation, abs=1e-6)


def test_parts_are_centred_scaled_to_unit_length_weighted_and_joined_to_unit_length():
    levels = MultiLevelPooling([1, 2], 3, Reading(level_weight=0.5))
    assert levels.sizes == [2, 4, 3]
    levels.centre.copy_(torch.arange(9.0))
    pooled = torch.tensor([[3.0, 5.0, 2, 3, 4, 9, 6, 7, 10]])
    # Less the centre: (3, 4), (0, 0, 0, 4), (0, 0, 2).
    expected = torch.tensor([[0.3, 0.4, 0, 0, 0, 0.5, 0, 0, 1]]) / math.sqrt(1.5)
    torch.testing.assert_close(levels(pooled), expected)


def test_the_mean_beside_is_one_more_part_of_weight_1():
    levels = MultiLevelPooling([1], 2, Reading(level_weight=0.5, mean_beside=True))
    assert (levels.sizes, levels.whitened) == ([2, 2, 2], 4)
    features = torch.tensor([[[[1.0, 3]], [[4.0, 4]]]])  # (1, 2, 1, 2)
    pooled = levels.pool([torch.tensor([[[[1.0, 5]]]])], torch.tensor([[7.0, 8]]), features)
    torch.testing.assert_close(pooled, torch.tensor([[3.0, 2, 7, 8, 2, 4]]))
    expected = torch.tensor([[0.3, 0.4, 1, 0, 0, -1]]) / math.sqrt(0.25 + 1 + 1)
    centre = pooled - torch.tensor([[3.0, 4, 2, 0, 0, -2]])
    torch.testing.assert_close(levels.joined(pooled, centre[0]), expected)


def test_without_a_last_layer_or_a_weight_no_mean_is_read():
    assert reading_of(PoolingSettings()).mean_beside
    assert not reading_of(PoolingSettings(whitening=0)).mean_beside
    assert not reading_of(PoolingSettings(mean_weight=0)).mean_beside
