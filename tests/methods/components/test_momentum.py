"""Key encoders follow their queries as moving averages and share nothing with them."""

import torch

from fgembed.methods.components.momentum import key_copy, update_keys


def test_keys_follow_queries_by_the_moving_average():
    query = torch.nn.Linear(2, 1)
    key = key_copy(query)
    before = key.weight.clone()
    with torch.no_grad():
        query.weight += 10
    update_keys([(query, key)], momentum=0.9)
    torch.testing.assert_close(key.weight, 0.9 * before + 0.1 * query.weight)


def test_a_key_copy_shares_no_tensor_and_takes_no_gradient():
    query = torch.nn.BatchNorm1d(3)
    key = key_copy(query)
    query_pointers = {value.data_ptr() for value in query.state_dict().values()}
    assert not query_pointers & {value.data_ptr() for value in key.state_dict().values()}
    assert not any(parameter.requires_grad for parameter in key.parameters())
