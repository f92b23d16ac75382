"""Random views of images that are already tensors on the device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_CROP = 0.6  # share of the area
WIDEST_RATIO = 4 / 3  # of the sides


def light_views(
    images: Tensor, smallest_crop: float = SMALLEST_CROP, flip_probability: float = 0.5
) -> Tensor:
    """Flip and RandomResizedCrop, drawn for each image: (B, 3, H, W) -> same, float32.

    Area uniform in smallest_crop..1, log of the ratio uniform in +-log(4/3), as in torchvision. A
    side that would exceed the image is cut to fit, where torchvision draws again. Draws from
    torch's global generator of the device alone.

    Args:
        images: (B, 3, H, W), of any range.
        smallest_crop: share of the area.
        flip_probability: of each image.
    """
    batch, _, height, width = images.shape
    draws = torch.rand(5, batch, 1, device=images.device)
    area = smallest_crop + (1 - smallest_crop) * draws[0]
    ratio = torch.exp(math.log(WIDEST_RATIO) * (2 * draws[1] - 1))
    across = (area * ratio).sqrt().clamp(max=1)  # (B, 1), share of the width
    down = (area / ratio).sqrt().clamp(max=1)
    flip = torch.where(draws[4] < flip_probability, -1.0, 1.0)
    x = (1 - across) * (2 * draws[2] - 1) + flip * across * _centres(width, images)  # (B, W)
    y = (1 - down) * (2 * draws[3] - 1) + down * _centres(height, images)  # (B, H)
    shape = (batch, height, width)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def _centres(side: int, images: Tensor) -> Tensor:
    """(side,): the centres of the pixels, with the image's edges at -1 and 1."""
    return (torch.arange(side, device=images.device) + 0.5) * (2 / side) - 1
