"""The queue of past keys: MoCo's negatives."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fgembed.errors import ConfigError


class KeyQueue(nn.Module):
    """The last K keys, first in, first out; saved with the method, so a resume keeps them."""

    keys: Tensor
    next_slot: Tensor

    def __init__(self, size: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dimensions), dim=1))
        self.register_buffer("next_slot", torch.zeros((), dtype=torch.long))

    def check_batch(self, batch: int) -> None:
        """Refuses a number of new keys that would not fill the queue evenly.

        Raises:
            ConfigError: it does not divide the queue's size.
        """
        if len(self.keys) % batch:
            raise ConfigError(
                f"a batch of {batch} keys does not divide a queue of {len(self.keys)}",
                "set method.queue_size to a multiple of optimiser.batch_size",
            )

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replaces the oldest keys by (B, D) new ones.

        Raises:
            ConfigError: B does not divide the queue's size.
        """
        size, batch = len(self.keys), len(keys)
        self.check_batch(batch)
        start = int(self.next_slot)
        self.keys[start : start + batch] = keys
        self.next_slot.fill_((start + batch) % size)
