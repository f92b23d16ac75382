"""Multi-level pooling by value."""

import math

import pytest
import torch

from fgembed.model.multi_level import MultiLevelPooling, mean_and_deviation


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


def test_parts_are_centred_scaled_to_unit_length_weighted_and_joined():
    levels = MultiLevelPooling([1, 2], 3, weight=0.5)
    assert levels.sizes == [2, 4, 3]
    levels.centre.copy_(torch.arange(9.0))
    pooled = torch.tensor([[3.0, 5.0, 2, 3, 4, 9, 6, 7, 10]])
    # Less the centre: (3, 4), (0, 0, 0, 4), (0, 0, 2).
    expected = torch.tensor([[0.3, 0.4, 0, 0, 0, 0.5, 0, 0, 1]])
    torch.testing.assert_close(levels(pooled), expected)
