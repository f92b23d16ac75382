"""A lack of memory is said in one line with what takes less."""

import pytest
import torch

from fgembed.errors import FgembedError
from fgembed.model.out_of_memory import explained_memory


def test_more_memory_than_there_is_names_what_takes_less():
    with (
        pytest.raises(FgembedError, match="not enough memory for a batch of 9; lower it"),
        explained_memory("a batch of 9", "lower it"),
    ):
        torch.empty(1 << 50)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="size"), explained_memory("a batch", "lower it"):
        torch.zeros(2) + torch.zeros(3)
