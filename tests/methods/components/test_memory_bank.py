import pytest
import torch

from fgembed.errors import ConfigError
from fgembed.methods.components.memory_bank import KeyQueue
from fgembed.methods.components.momentum import key_copy, update_keys


def test_the_queue_holds_the_last_keys_and_wraps_around():
    queue = KeyQueue(6, 2)
    batches = [torch.full((2, 2), float(number)) for number in range(5)]
    for batch in batches:
        queue.enqueue(batch)
    assert queue.keys[:, 0].tolist() == [3, 3, 4, 4, 2, 2]
    assert int(queue.next_slot) == 4


def test_a_batch_that_does_not_divide_the_queue_is_refused():
    with pytest.raises(ConfigError, match=r"4 keys does not divide a queue of 6.*multiple"):
        KeyQueue(6, 2).enqueue(torch.zeros(4, 2))


def test_fresh_keys_have_unit_length():
    torch.testing.assert_close(KeyQueue(5, 3).keys.norm(dim=1), torch.ones(5))


def test_keys_follow_queries_by_the_moving_average():
    query = torch.nn.Linear(2, 1)
    key = key_copy(query)
    before = key.weight.clone()
    with torch.no_grad():
        query.weight += 10
    update_keys([(query, key)], momentum=0.9)
    torch.testing.assert_close(key.weight, 0.9 * before + 0.1 * query.weight)


def test_a_key_copy_shares_nothing_and_takes_no_gradient():
    query = torch.nn.BatchNorm1d(3)
    key = key_copy(query)
    own = {value.data_ptr() for value in query.state_dict().values()}
    assert not own & {value.data_ptr() for value in key.state_dict().values()}
    assert not any(parameter.requires_grad for parameter in key.parameters())
