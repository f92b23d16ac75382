"""Maps over positions: Grad-CAM (arXiv:1610.02391) and ways to scale it."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def grad_cam(features: Tensor, gradient: Tensor, sign: int = 1) -> Tensor:
    """G = ReLU(sign x sum_c F_c * dL/dF_c), element-wise: (B, h, w).

    Under average pooling the gradient is the same at every position, so this equals Grad-CAM
    with channel weights. `sign` +1 marks positions that raise the loss (as in LCR's released
    code), -1 those that lower it.

    Args:
        features: (B, C, h, w).
        gradient: (B, C, h, w), of a loss with respect to `features`.
        sign: +1 or -1.
    """
    return F.relu(sign * (features * gradient).sum(dim=1))


def min_max(maps: Tensor, over: Literal["image", "batch"] = "image") -> Tensor:
    """(A - min) / (max - min), per image, or over the batch as in LCR's released code.

    Args:
        maps: (B, h, w).
        over: scope of the minimum and maximum. With `batch` a map depends on the other images,
            so use it in training only.

    Example:
        >>> import torch
        >>> min_max(torch.tensor([[[1.0, 2.0, 5.0]]]))
        tensor([[[0.0000, 0.2500, 1.0000]]])
    """
    dims = (1, 2) if over == "image" else (0, 1, 2)
    low = maps.amin(dim=dims, keepdim=True)
    return (maps - low) / ((maps - low).amax(dim=dims, keepdim=True) + 1e-7)


def peak_normalised(maps: Tensor) -> Tensor:
    """Each map over its maximum, in [0, 1]: the CAM of a loss averaged over B images is O(1/B)."""
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-20)
