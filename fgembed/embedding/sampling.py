"""Samples that are spread evenly over a sequence."""

import numpy as np

from fgembed.embedding.array_types import Ids


def evenly_spaced(count: int, sample_size: int) -> Ids:
    """Positions of a sample of `count` items, ascending, the first item among them.

    Gives (min(count, sample_size),) int64; of two or more the last item is one, too.

    Example:
        >>> evenly_spaced(10, 4)
        array([0, 3, 6, 9])
        >>> evenly_spaced(3, 8)
        array([0, 1, 2])
    """
    return np.linspace(0, count - 1, min(count, sample_size)).astype(np.int64)
