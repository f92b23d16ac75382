"""Watching a transformer attend, in the pass that is made anyway.

What is watched is the first token's row of softmax(q k^T x scale), mean over heads, before any
dropout. Only that row is computed, so fused attention stays fused and the features are those of
an unwatched pass.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def first_row(query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """The first token's attention, mean over heads, in float32 under mixed precision too.

    Args:
        query: (B, heads, N, d).
        key: (B, heads, N, d).
        scale: what the products are multiplied by.
        mask: added to the scaled products; broadcasts to (B, heads, N, N).

    Returns:
        (B, N), each row with sum one.
    """
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.einsum("bhd,bhnd->bhn", query[:, :, 0].float(), key.float()) * scale
        if mask is not None:
            scores = scores + mask[..., 0, :].float()
        return scores.softmax(dim=-1).mean(dim=1)


@contextmanager
def watched_products(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects a (B, N) row from each call of `scaled_dot_product_attention` inside the block.

    Args:
        modules: timm's layers, whose `fused_attn` decides whether they make that call; those that
            would not are asked to until the block ends.
    """
    unfused = [module for module in modules if getattr(module, "fused_attn", None) is False]
    for module in unfused:
        module.fused_attn = True  # type: ignore[assignment]
    try:
        with _Products() as products:
            yield products.rows
    finally:
        for module in unfused:
            module.fused_attn = False  # type: ignore[assignment]


class _Products(TorchFunctionMode):
    """Looks at each fused attention on its way to torch, after norms and rotations."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if function is F.scaled_dot_product_attention:
            self.rows.append(_product_row(*args, **named))
        return function(*args, **named)


def _product_row(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`first_row` of what torch's function is given."""
    return first_row(query, key, query.shape[-1] ** -0.5 if scale is None else scale, attn_mask)


@contextmanager
def watched_heads(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects a (B, N) row from each self-attention of a `MultiheadAttention` inside the block.

    Torch's fast path shows neither queries nor keys, so both are projected once more: the key of
    every token, the query of the first.
    """
    rows: list[Tensor] = []

    def watch(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.MultiheadAttention)
        rows.append(_head_row(module, args[0]))

    handles = [module.register_forward_pre_hook(watch) for module in modules]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def _head_row(module: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    """`first_row` of tokens (B, N, C) in a layer that takes them batch first."""
    width = module.embed_dim
    weight, bias = module.in_proj_weight, module.in_proj_bias
    query = F.linear(tokens[:, :1], weight[:width], bias[:width])
    key = F.linear(tokens, weight[width : 2 * width], bias[width : 2 * width])
    query, key = (
        torch.unflatten(x, 2, (module.num_heads, -1)).transpose(1, 2) for x in (query, key)
    )
    return first_row(query, key, query.shape[-1] ** -0.5)
