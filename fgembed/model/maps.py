"""Maps over positions: Grad-CAM and its scalings."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def grad_cam(features: Tensor, gradient: Tensor, sign: int = 1) -> Tensor:
    """G = ReLU(sign x sum_c F_c * dL/dF_c), element by element: (B, h, w).

    Under average pooling the gradient is the same at every position, so this equals Grad-CAM
    with channel weights. `sign` +1 marks what raises the loss (the released LCR code), -1 what
    lowers it.

    Args:
        features: (B, C, h, w).
        gradient: (B, C, h, w), of a loss with respect to `features`.
        sign: +1 or -1.
    """
    return F.relu(sign * (features * gradient).sum(dim=1))


def min_max(maps: Tensor, over: Literal["picture", "batch"] = "picture") -> Tensor:
    """(A - min) / (max - min), by picture, or over the whole batch as in the released LCR code.

    Args:
        maps: (B, h, w).
        over: what shares one minimum and maximum. `batch` makes a map depend on its
            neighbours and is for training only.
    """
    dims = (1, 2) if over == "picture" else (0, 1, 2)
    low = maps.amin(dim=dims, keepdim=True)
    return (maps - low) / ((maps - low).amax(dim=dims, keepdim=True) + 1e-7)


def peak_normalised(maps: Tensor) -> Tensor:
    """Each map over its own maximum: a CAM of a mean loss is O(1/B), this puts it on [0, 1]."""
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-20)
