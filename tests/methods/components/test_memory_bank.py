"""The memory bank: first in, first out, and honest while it is not full."""

import copy

import pytest
import torch

from fgembed.methods.components.memory_bank import MemoryBank


def numbered(first: int, count: int) -> torch.Tensor:
    """(count, 3), row i filled with first + i."""
    return torch.arange(first, first + count).float()[:, None].expand(count, 3).clone()


def numbers(bank: MemoryBank) -> set[int]:
    return {int(row[0]) for row in bank.rows()}


def test_the_bank_holds_the_last_vectors_and_wraps_around():
    bank = MemoryBank(6, 2)
    for number in range(5):
        bank.enqueue(torch.full((2, 2), float(number)))
    assert bank.vectors[:, 0].tolist() == [3, 3, 4, 4, 2, 2]
    assert bank.next_slot == 4


@pytest.mark.parametrize("random_start", [False, True])
def test_it_holds_the_last_vectors_for_any_size_of_batch(random_start: bool):
    bank, enqueued = MemoryBank(7, 3, random_start=random_start), 0
    for count in (2, 3, 4, 1, 7, 5, 20, 3):
        bank.enqueue(numbered(enqueued, count))
        enqueued += count
        slots = {number % 7: number for number in range(enqueued)}
        assert {slot: int(bank.vectors[slot, 0]) for slot in slots} == slots
        if enqueued >= 7 or not random_start:
            assert numbers(bank) == set(range(max(0, enqueued - 7), enqueued))


def test_empty_slots_do_not_count():
    bank = MemoryBank(100, 3)
    assert len(bank.rows()) == 0
    bank.enqueue(torch.full((2, 3), 5.0))
    assert bank.rows().std(dim=0, correction=0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("random_start", [False, True])
def test_it_is_full_once_every_slot_was_enqueued(random_start: bool):
    bank = MemoryBank(4, 3, random_start=random_start)
    full = []
    for number in range(5):
        bank.enqueue(numbered(number, 1))
        full.append(bank.is_full)
    assert full == [False, False, False, True, True]
    assert len(bank.rows()) == 4


def test_a_random_start_is_of_unit_vectors_that_count():
    bank = MemoryBank(5, 3, random_start=True)
    assert len(bank.rows()) == 5
    torch.testing.assert_close(bank.rows().norm(dim=1), torch.ones(5))
    assert float(torch.pdist(bank.rows()).min()) > 0


def test_vectors_are_stored_unnormalised_and_without_gradient():
    bank, vectors = MemoryBank(4, 3), 7 * torch.rand(2, 3, requires_grad=True)
    bank.enqueue(vectors)
    torch.testing.assert_close(bank.rows(), vectors.detach())
    assert not bank.vectors.requires_grad


@pytest.mark.parametrize("random_start", [False, True])
def test_a_state_round_trip_continues_at_the_same_slot(random_start: bool):
    bank, other = (MemoryBank(5, 3, random_start=random_start) for _ in range(2))
    bank.enqueue(numbered(0, 4))
    other.load_state_dict(copy.deepcopy(bank.state_dict()))
    for resumed in (bank, other):
        resumed.enqueue(numbered(4, 3))
    torch.testing.assert_close(bank.vectors, other.vectors)
    assert numbers(other) == {2, 3, 4, 5, 6}
