"""Vision transformers as trunks: patch tokens as a feature map, and the class token."""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgembed.errors import ConfigError


class AttentionOutput(NamedTuple):
    """The output of one forward pass of a transformer.

    Attributes:
        features: (B, C, h, w), the last layer's patch tokens after the final norm.
        summary: (B, C), the class token; without one, the network's own pooled vector.
        attention: (L, B, h, w), in each layer the class token's attention to the patches,
            averaged over heads, float32.
    """

    features: Tensor
    summary: Tensor
    attention: Tensor


class TokenTrunk(nn.Module):
    """A vision transformer without its classifier; one subclass per library.

    Attributes:
        grid: (h, w), patches per column and per row.
        prefix: number of tokens before those of the patches.
        has_attention: whether the first is a class token whose attention can be captured.
    """

    has_attention = True

    def __init__(self, grid: tuple[int, int], prefix: int) -> None:
        super().__init__()
        self.grid = grid
        self.prefix = prefix

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the last layer's tokens (B, prefix + h w, C), ready for pooling."""
        raise NotImplementedError

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, prefix + h w, C) -> (B, C)."""
        return tokens[:, 0]

    def patch_projection(self) -> nn.Module:
        """The layer that turns patches into tokens."""
        raise NotImplementedError

    def capture_attention(self) -> AbstractContextManager[list[Tensor]]:
        """A context in which `tokens` appends each layer's row (B, prefix + h w) to the list."""
        raise NotImplementedError

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> features (B, C, h, w) and summary (B, C)."""
        return self._split(self.tokens(images))

    def attend(self, images: Tensor) -> AttentionOutput:
        """As `read`, with the attention of every layer; requires `has_attention`."""
        with self.capture_attention() as rows:
            tokens = self.tokens(images)
        attention = torch.stack([row[:, self.prefix :] for row in rows])
        features, summary = self._split(tokens)
        return AttentionOutput(features, summary, torch.unflatten(attention, 2, self.grid))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        return self.read(images)[0]

    def patches(self, tokens: Tensor) -> Tensor:
        """(B, prefix + h w, C) -> the patch tokens as a map (B, C, h, w)."""
        return torch.unflatten(tokens[:, self.prefix :].transpose(1, 2), 2, self.grid)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.patches(tokens), self.summary(tokens)


def check_patches(name: str, size: int, patch: int) -> None:
    """Checks that `size` is a multiple of `patch`, both in pixels.

    Raises:
        ConfigError: it is not; the message names the nearest sizes that are.
    """
    if size % patch:
        below, above = size - size % patch, size - size % patch + patch
        sizes = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"images of {size} px do not divide into the patches of {patch} px of {name}",
            f"set preprocessing.size to {sizes}",
        )
