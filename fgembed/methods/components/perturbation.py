"""SynPair's perturbation of codes as pure functions: which dimensions move, and how far.

A code is h (B, C), the mean of a feature map over its positions. METHODS.md 4.3; the paper's
own formulas are not published with its abstract.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Importance = Literal["product", "gradient", "positive"]
Dimensions = Literal["or", "and", "variance", "gradient"]


def deviation(codes: Tensor) -> Tensor:
    """(n, C) -> (C,): the standard deviation of each dimension, over n (not n - 1)."""
    return codes.std(dim=0, correction=0)


def lowest(values: Tensor, share: float) -> Tensor:
    """1[v_k <= quantile_share(v)] along the last axis: (..., C) -> (..., C) bool.

    The quantile is the value at rank floor(share x (C - 1)), which selects the same dimensions
    as the interpolated one. All that tie with it are in: where more than `share` of the
    dimensions are dead, all dead ones.
    """
    rank = math.floor(share * (values.shape[-1] - 1))
    return values <= values.kthvalue(rank + 1, dim=-1, keepdim=True).values


def importance(code: Tensor, gradient: Tensor, kind: Importance) -> Tensor:
    """C (B, C): |h * dL/dh|, |dL/dh| or ReLU(h * dL/dh).

    The first is Grad-CAM of a mean-pooled map summed over positions, |sum_ij F_kij dL/dF_kij|.

    Args:
        code: h, (B, C).
        gradient: dL/dh, (B, C), of the self-supervised loss; ranks within a picture are the
            same for a mean and a sum over the batch.
        kind: which of the three.
    """
    if kind == "gradient":
        return gradient.abs()
    product = code * gradient
    return product.abs() if kind == "product" else F.relu(product)


def chosen(low_variance: Tensor, unimportant: Tensor, dimensions: Dimensions) -> Tensor:
    """N (B, C) bool, of V (C,) and U (B, C): V or U, V and U, or one of them."""
    if dimensions == "variance":
        return low_variance.expand_as(unimportant)
    if dimensions == "gradient":
        return unimportant
    both = low_variance & unimportant
    return both if dimensions == "and" else low_variance | unimportant


def with_noise(code: Tensor, mask: Tensor, scale: Tensor) -> Tensor:
    """H + N * eps, eps ~ Normal(0, scale^2); one scale for all dimensions, ().

    Scaled by its own deviation, a dimension of low variance would hardly move.
    """
    return code + mask * torch.randn_like(code) * scale


def with_replacement(code: Tensor, mask: Tensor) -> Tensor:
    """H where N = 0, and where N = 1 the value of another picture of the batch."""
    return torch.where(mask, code[other_rows(len(code), code.device)], code)


def other_rows(count: int, device: torch.device) -> Tensor:
    """(B,): for each picture another one, each used once: a random cycle through all."""
    order = torch.randperm(count, device=device)
    others = torch.empty_like(order)
    others[order] = order.roll(1)
    return others


def clamped_like(moved: Tensor, code: Tensor) -> Tensor:
    """ReLU(h~) if the batch of codes h has no negative value, else h~.

    Behind a ReLU a code is non-negative and must stay so; behind SiLU or a transformer's norm
    it has both signs, and a clamp would take half of it.
    """
    return torch.where((code >= 0).all(), F.relu(moved), moved)
