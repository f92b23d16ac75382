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
    """Key <- momentum x key + (1 - momentum) x query, for every parameter of each pair.

    Buffers are left alone: a key encoder keeps batch-norm statistics of its own.
    """
    for query, key in pairs:
        for query_parameter, key_parameter in zip(
            query.parameters(), key.parameters(), strict=True
        ):
            key_parameter.lerp_(query_parameter, 1 - momentum)
