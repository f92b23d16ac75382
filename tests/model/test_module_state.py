"""Contexts that restore a module's state, after an error too."""

import copy

import pytest
import torch
from torch import nn

from fgembed.model.module_state import evaluation_mode, keep_statistics


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.BatchNorm1d(16)]
    return nn.Sequential(*layers, nn.Dropout(0.5)).train()


def test_statistics_are_not_updated_and_the_batch_still_normalises():
    module, plain = network(), network()
    before = copy.deepcopy(module.state_dict())
    batch = 5 + torch.randn(6, 3, 2, 2)
    with keep_statistics(module):
        torch.manual_seed(1)
        output = module(batch)
    torch.manual_seed(1)
    torch.testing.assert_close(output, plain(batch))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_frozen_norms_use_their_running_statistics():
    module = network()
    module[1].eval()
    batch = 5 + torch.randn(6, 3, 2, 2)
    expected = module[1](module[0](batch))
    with keep_statistics(module):
        torch.testing.assert_close(module[1](module[0](batch)), expected)


def test_statistics_are_updated_again_after_an_error():
    module = network()
    with pytest.raises(RuntimeError, match="expected input"), keep_statistics(module):
        module(torch.zeros(2, 5, 2, 2))
    module(torch.randn(6, 3, 2, 2))
    assert int(module[1].state_dict()["num_batches_tracked"]) == 1


def test_a_norm_without_statistics_gets_none():
    module = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).train()
    with keep_statistics(module):
        module(torch.randn(4, 3, 2, 2))
    assert not module[0].track_running_stats


def test_evaluation_mode_restores_all_modes_and_the_random_state():
    module = network()
    module[1].eval()
    torch.manual_seed(3)
    with pytest.raises(ZeroDivisionError), evaluation_mode(module):
        assert not any(part.training for part in module.modules())
        torch.rand(())
        _ = 1 / 0
    assert [part.training for part in module] == [True, False, True, True, True]
    drawn = torch.rand(())
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(()))
