"""The bank of codes: first in, first out, and honest while it is not full."""

import copy

import torch

from fgembed.methods.components.variance_bank import VarianceBank


def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count).float()[:, None].expand(count, 3).clone()


def held(bank: VarianceBank) -> set[int]:
    return {int(row[0]) for row in bank.rows()}


def test_it_holds_the_last_codes_for_any_size_of_batch():
    bank, pushed = VarianceBank(7, 3), 0
    for count in (2, 3, 4, 1, 7, 5, 20, 3):
        bank.push(numbered(pushed, count))
        pushed += count
        assert held(bank) == set(range(max(0, pushed - 7), pushed))
        assert len(bank.rows()) == min(7, pushed)


def test_rows_that_are_not_filled_do_not_count():
    bank = VarianceBank(100, 3)
    assert len(bank.rows()) == 0
    bank.push(torch.full((2, 3), 5.0))
    assert bank.rows().std(dim=0, correction=0).tolist() == [0, 0, 0]


def test_codes_are_kept_as_they_are_and_without_gradient():
    bank, codes = VarianceBank(4, 3), 7 * torch.rand(2, 3, requires_grad=True)
    bank.push(codes)
    torch.testing.assert_close(bank.rows(), codes.detach())
    assert not bank.codes.requires_grad


def test_a_state_round_trip_goes_on_at_the_same_place():
    bank, other = VarianceBank(5, 3), VarianceBank(5, 3)
    bank.push(numbered(0, 4))
    other.load_state_dict(copy.deepcopy(bank.state_dict()))
    for each in (bank, other):
        each.push(numbered(4, 3))
    torch.testing.assert_close(bank.codes, other.codes)
    assert held(other) == {2, 3, 4, 5, 6}
