"""Vision transformers as trunks: patch tokens as a feature map, the class token beside it."""

from typing import NamedTuple

from torch import Tensor, nn


class Attended(NamedTuple):
    """What one pass of a transformer gives.

    Attributes:
        features: (B, C, h, w), the last layer's patch tokens after the final norm.
        summary: (B, C), the class token; without one, the mean of the patch tokens.
        attention: (L, B, h, w), in each layer the class token's attention to the patches,
            averaged over heads.
    """

    features: Tensor
    summary: Tensor
    attention: Tensor


class TokenTrunk(nn.Module):
    """What a transformer offers beyond a feature map; one subclass a library."""

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> features (B, C, h, w) and summary (B, C)."""
        raise NotImplementedError

    def attend(self, images: Tensor) -> Attended:
        """The same pass, with the attention of every layer."""
        raise NotImplementedError

    def patch_projection(self) -> nn.Module:
        """The layer that turns patches into tokens."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        return self.read(images)[0]
