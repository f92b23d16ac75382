"""Memory that torch does not get, as an error that says what takes less."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fgembed.errors import FgembedError

OF_THE_CPU = "can't allocate memory"  # torch has no class of its own for it


@contextmanager
def explained_memory(fact: str, remedy: str) -> Iterator[None]:
    """Within the block a lack of memory, of the GPU or the machine, becomes an `FgembedError`.

    Args:
        fact: what there is not enough memory for.
        remedy: what takes less.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise FgembedError(f"not enough memory for {fact}", remedy) from None
    except RuntimeError as error:
        if OF_THE_CPU not in str(error):
            raise
        raise FgembedError(f"not enough memory for {fact}", remedy) from None
