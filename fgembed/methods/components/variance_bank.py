"""The bank of past codes: how much each dimension varies over the data set."""

import torch
from torch import Tensor, nn


class VarianceBank(nn.Module):
    """The last N codes, first in, first out; saved with the method, so a resume keeps them.

    Codes are kept as they are, not normalised: `low variance` is asked of unit codes, the scale
    of the noise of raw ones, and both can be had from these.
    """

    codes: Tensor
    pushed: Tensor

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, channels))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, codes: Tensor) -> None:
        """Takes in (B, C) new codes in place of the oldest; any B."""
        size, before = len(self.codes), int(self.pushed)
        fresh = codes[-size:]
        first = before + len(codes) - len(fresh)
        slots = torch.arange(first, first + len(fresh), device=codes.device) % size
        self.codes[slots] = fresh.to(self.codes.dtype)
        self.pushed.add_(len(codes))

    def rows(self) -> Tensor:
        """(n, C): the codes that are there, in no order; n grows to N."""
        return self.codes[: min(int(self.pushed), len(self.codes))]
