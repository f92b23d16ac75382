"""The memory bank: the last vectors of earlier batches, as MoCo's negatives or as statistics."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """The last K vectors, first in, first out, in a ring that takes batches of any size.

    It stores vectors without gradient and does not normalise them. Its state dict holds the
    vectors and their count, so a resumed run continues at the same slot.

    MoCo, arXiv:1911.05722, section 3.2 (the dictionary as a queue). MoCo's code starts with
    random unit vectors, which count as negatives: `random_start`. A bank that statistics are
    taken over starts empty.

    Args:
        size: K, how many vectors it holds.
        dimensions: D, the length of a vector.
        random_start: whether it starts full of random unit vectors instead of empty.

    Attributes:
        vectors: (K, D), all slots; an empty slot is zero.
        enqueued: (), how many vectors were enqueued so far.

    Example:
        >>> bank = MemoryBank(size=3, dimensions=2)
        >>> bank.enqueue(torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
        >>> bank.rows().tolist()
        [[1.0, 0.0], [2.0, 0.0]]
        >>> bank.enqueue(torch.tensor([[3.0, 0.0], [4.0, 0.0]]))  # replaces the oldest
        >>> bank.rows().tolist()
        [[4.0, 0.0], [2.0, 0.0], [3.0, 0.0]]
        >>> bank.is_full
        True
    """

    vectors: Tensor
    enqueued: Tensor

    def __init__(self, size: int, dimensions: int, *, random_start: bool = False) -> None:
        super().__init__()
        self.random_start = random_start
        start = torch.zeros(size, dimensions)
        if random_start:
            start = F.normalize(torch.randn(size, dimensions), dim=1)
        self.register_buffer("vectors", start)
        self.register_buffer("enqueued", torch.zeros((), dtype=torch.long))

    @property
    def is_full(self) -> bool:
        """Whether every slot holds a vector that was enqueued, not an empty or a random one."""
        return int(self.enqueued) >= len(self.vectors)

    @property
    def next_slot(self) -> int:
        """The slot that the next vector goes to: the oldest one's, once the bank is full."""
        return int(self.enqueued) % len(self.vectors)

    def rows(self) -> Tensor:
        """(n, D), the vectors that count, by slot: n grows to K, or is K after a random start.

        It is a view: clone it where a later `enqueue` must not change it.
        """
        return self.vectors if self.random_start else self.vectors[: int(self.enqueued)]

    @torch.no_grad()
    def enqueue(self, batch: Tensor) -> None:
        """Replaces the oldest vectors by (B, D) new ones; of more than K, the last K stay."""
        size = len(self.vectors)
        newest = batch[-size:]
        first = self.next_slot + len(batch) - len(newest)
        slots = torch.arange(first, first + len(newest), device=batch.device) % size
        self.vectors[slots] = newest.to(self.vectors.dtype)
        self.enqueued += len(batch)
