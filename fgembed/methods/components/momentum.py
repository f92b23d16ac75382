"""Key encoders: copies that follow their query encoders as moving averages."""

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def key_copy(query: Module) -> Module:
    """A copy that shares no tensor with `query` and takes no gradient."""
    return copy.deepcopy(query).requires_grad_(False)


@torch.no_grad()
def update_keys(pairs: Iterable[tuple[nn.Module, nn.Module]], momentum: float) -> None:
    """theta_k <- m theta_k + (1 - m) theta_q, in place, for every parameter of each pair.

    MoCo, arXiv:1911.05722, eq. 2. Buffers stay: a key encoder has its own batch-norm statistics.

    Args:
        pairs: (query, key) modules of the same shapes.
        momentum: m, 0..1; at 1 the keys stay as they are.

    Example:
        >>> query = nn.Linear(1, 1, bias=False)
        >>> key = key_copy(query)
        >>> _ = nn.init.constant_(query.weight, 1.0), nn.init.constant_(key.weight, 0.0)
        >>> update_keys([(query, key)], momentum=0.75)
        >>> key.weight.item()
        0.25
    """
    for query, key in pairs:
        for query_parameter, key_parameter in zip(
            query.parameters(), key.parameters(), strict=True
        ):
            key_parameter.lerp_(query_parameter, 1 - momentum)
