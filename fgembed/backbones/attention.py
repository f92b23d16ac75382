"""Captures a transformer's attention during its ordinary forward pass.

The captured value is the first token's row of softmax(q k^T x scale), averaged over heads,
before dropout. Only that row is computed in addition: fused attention stays fused, and the
features equal those of a pass without capture.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def first_row(query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """The first token's attention, averaged over heads; float32 under mixed precision too.

    Args:
        query: (B, heads, N, d).
        key: (B, heads, N, d).
        scale: factor of the products.
        mask: added to the scaled products; broadcasts to (B, heads, N, N).

    Returns:
        (B, N); each row sums to one.

    Example:
        >>> query = key = torch.eye(2).view(1, 1, 2, 2)
        >>> first_row(query, key, scale=0.0)
        tensor([[0.5000, 0.5000]])
    """
    with torch.autocast(query.device.type, enabled=False):
        scores = torch.einsum("bhd,bhnd->bhn", query[:, :, 0].float(), key.float()) * scale
        if mask is not None:
            scores = scores + mask[..., 0, :].float()
        return scores.softmax(dim=-1).mean(dim=1)


@contextmanager
def capture_fused_attention(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects a (B, N) row from each call of `scaled_dot_product_attention` in the block.

    Args:
        modules: timm's layers. Their `fused_attn` decides whether they make that call; it is
            switched on until the block ends.
    """
    unfused = [module for module in modules if getattr(module, "fused_attn", None) is False]
    for module in unfused:
        module.fused_attn = True  # type: ignore[assignment]
    try:
        with _FusedAttentionMode() as mode:
            yield mode.rows
    finally:
        for module in unfused:
            module.fused_attn = False  # type: ignore[assignment]


class _FusedAttentionMode(TorchFunctionMode):
    """Intercepts calls of torch's fused attention, after norms and rotations."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is F.scaled_dot_product_attention:
            self.rows.append(_fused_row(*args, **kwargs))
        return function(*args, **kwargs)


def _fused_row(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`first_row` from the arguments of `scaled_dot_product_attention`."""
    return first_row(query, key, query.shape[-1] ** -0.5 if scale is None else scale, attn_mask)


@contextmanager
def capture_multihead_attention(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects a (B, N) row from each self-attention of a `MultiheadAttention` in the block.

    Torch's fast path exposes neither queries nor keys, so they are projected a second time: the
    keys of all tokens, the query of the first.
    """
    rows: list[Tensor] = []

    def record(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.MultiheadAttention)
        rows.append(_head_row(module, args[0]))

    handles = [module.register_forward_pre_hook(record) for module in modules]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def _head_row(module: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    """`first_row` from tokens (B, N, C), of a layer with `batch_first`."""
    width = module.embed_dim
    weight, bias = module.in_proj_weight, module.in_proj_bias
    query = F.linear(tokens[:, :1], weight[:width], bias[:width])
    key = F.linear(tokens, weight[width : 2 * width], bias[width : 2 * width])
    query, key = (
        torch.unflatten(x, 2, (module.num_heads, -1)).transpose(1, 2) for x in (query, key)
    )
    return first_row(query, key, query.shape[-1] ** -0.5)
