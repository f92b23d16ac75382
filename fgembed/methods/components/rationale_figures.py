"""Figures that tell whether a rationale branch works: does its map find what the loss marks?"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.methods.components.losses import map_kl

TINY = 1e-20


def explained(target: Tensor, prediction: Tensor, temperature: float) -> float:
    """The share of the target's divergence that the prediction explains beyond a uniform map.

        1 - sum_b KL(P_b || R_b) / sum_b KL(P_b || uniform),   P = softmax(G/t), R = softmax(A/t)

    1 is a perfect prediction, 0 as good as none, and below 0 a uniform map is better. 0 where the
    targets themselves are uniform, and there is nothing to explain.

    Args:
        target: G, (B, h, w).
        prediction: A, (B, h, w).
        temperature: t.

    Example:
        >>> target = torch.tensor([[[0.0, 1.0]]])
        >>> explained(target, target, 0.4), explained(target, torch.zeros(1, 1, 2), 0.4)
        (1.0, 0.0)
    """
    uniform = float(map_kl(target, torch.zeros_like(target), temperature))
    if uniform <= TINY:
        return 0.0
    return 1 - float(map_kl(target, prediction, temperature)) / uniform


def correlation(target: Tensor, prediction: Tensor) -> float:
    """Pearson's correlation of two maps over positions, a mean over images (B, h, w).

    An image of which one of the maps is constant counts as 0.
    """
    one, other = (maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True)
                  for maps in (target, prediction))  # fmt: skip
    return float(F.cosine_similarity(one, other, dim=1, eps=TINY).mean())


def common_share(gradient: Tensor) -> float:
    """|sum_b g_b| / sum_b |g_b| of (B, C, h, w), with g_b the sum over positions.

    0 where the images' gradients cancel, as behind a batch norm: what all images share, often the
    object itself, then has no weight in a Grad-CAM. 1 where all point the same way.
    """
    pooled = gradient.sum(dim=(2, 3))
    total = pooled.norm(dim=1).sum()
    return float(pooled.sum(dim=0).norm() / total) if total > TINY else 0.0


def gradient_ratio(term: Tensor, base: Tensor) -> float:
    """The norm of a term's gradient over that of the loss it is added to."""
    return float(term.norm() / base.norm().clamp(min=TINY))
