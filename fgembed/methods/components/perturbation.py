"""SynPair's perturbation of codes as pure functions: which dimensions move, and how far.

A code is h (B, C), the mean of a feature map over its positions. The abstract of SynPair
(arXiv:2407.14676) names two criteria for the dimensions to perturb: low variance over the data and
low importance by Grad-CAM. The formulas here are a reconstruction; the paper's own are not known.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Importance = Literal["product", "gradient", "positive"]
Dimensions = Literal["or", "and", "variance", "gradient"]


def deviation(codes: Tensor) -> Tensor:
    """sigma, (n, C) -> (C,): the standard deviation of each dimension, over n (not n - 1)."""
    return codes.std(dim=0, correction=0)


def lowest(values: Tensor, share: float) -> Tensor:
    """1[v_k <= quantile_share(v)] along the last axis: (..., C) -> (..., C) bool.

    The quantile is the value at rank floor(share x (C - 1)), which selects the same dimensions
    as the interpolated one. All that tie with it are in: if more than `share` of the dimensions
    are dead, all dead ones.

    Example:
        >>> lowest(torch.tensor([3.0, 1.0, 4.0, 2.0]), share=0.34)
        tensor([False,  True, False,  True])
    """
    rank = math.floor(share * (values.shape[-1] - 1))
    return values <= values.kthvalue(rank + 1, dim=-1, keepdim=True).values


def importance(code: Tensor, gradient: Tensor, kind: Importance) -> Tensor:
    """The importance c, (B, C): |h * dL/dh|, |dL/dh| or ReLU(h * dL/dh).

    The first is Grad-CAM of a mean-pooled map summed over positions, |sum_ij F_kij dL/dF_kij|.

    Args:
        code: h, (B, C).
        gradient: dL/dh, (B, C), of the self-supervised loss; ranks within an image are the
            same for a mean and a sum over the batch.
        kind: `product`, `gradient` or `positive`, in the order of the formulas.
    """
    if kind == "gradient":
        return gradient.abs()
    product = code * gradient
    return product.abs() if kind == "product" else F.relu(product)


def perturbed_dimensions(
    low_variance: Tensor, unimportant: Tensor, dimensions: Dimensions
) -> Tensor:
    """N (B, C) bool, of V (C,) and U (B, C): V or U, V and U, V alone, or U alone."""
    if dimensions == "variance":
        return low_variance.expand_as(unimportant)
    if dimensions == "gradient":
        return unimportant
    both = low_variance & unimportant
    return both if dimensions == "and" else low_variance | unimportant


def with_noise(code: Tensor, mask: Tensor, scale: Tensor) -> Tensor:
    """The code h + N * eps, eps ~ Normal(0, scale^2), with one scale for all dimensions.

    With noise on the scale of its own deviation, a dimension of low variance would hardly move.

    Args:
        code: h, (B, C).
        mask: N, (B, C) bool.
        scale: (), a standard deviation.
    """
    return code + mask * torch.randn_like(code) * scale


def with_replacement(code: Tensor, mask: Tensor) -> Tensor:
    """The code h where N = 0, and where N = 1 the value of another image of the batch.

    Args:
        code: h, (B, C).
        mask: N, (B, C) bool.
    """
    return torch.where(mask, code[random_cycle(len(code), code.device)], code)


def random_cycle(count: int, device: torch.device) -> Tensor:
    """(B,): a permutation without fixed points, a random cycle through all images."""
    order = torch.randperm(count, device=device)
    successors = torch.empty_like(order)
    successors[order] = order.roll(1)
    return successors


def clamped_like(moved: Tensor, code: Tensor) -> Tensor:
    """ReLU(h~) if the batch of codes h has no negative value, else h~.

    Behind a ReLU a code is non-negative and must stay so. Behind SiLU or a transformer's norm it
    has both signs, and a clamp would remove half of it.

    Args:
        moved: h~, (B, C).
        code: h, (B, C).
    """
    return torch.where((code >= 0).all(), F.relu(moved), moved)
