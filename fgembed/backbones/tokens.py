"""Vision transformers as trunks: patch tokens as a feature map, the class token beside it."""

from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgembed.errors import ConfigError


class Attended(NamedTuple):
    """What one pass of a transformer gives.

    Attributes:
        features: (B, C, h, w), the last layer's patch tokens after the final norm.
        summary: (B, C), the class token; without one, what the network itself pools.
        attention: (L, B, h, w), in each layer the class token's attention to the patches,
            averaged over heads, float32.
    """

    features: Tensor
    summary: Tensor
    attention: Tensor


class TokenTrunk(nn.Module):
    """What a transformer offers beyond a feature map; one subclass a library.

    Attributes:
        grid: (h, w), patches down and across.
        prefix: how many tokens come before those of the patches.
        has_attention: whether the first of them is a class token whose attention can be read.
    """

    has_attention = True

    def __init__(self, grid: tuple[int, int], prefix: int) -> None:
        super().__init__()
        self.grid = grid
        self.prefix = prefix

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the last layer's tokens (B, prefix + h w, C), as they are pooled."""
        raise NotImplementedError

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, prefix + h w, C) -> (B, C)."""
        return tokens[:, 0]

    def patch_projection(self) -> nn.Module:
        """The layer that turns patches into tokens."""
        raise NotImplementedError

    def watched(self) -> AbstractContextManager[list[Tensor]]:
        """Inside the block `tokens` appends each layer's row (B, prefix + h w) to the list."""
        raise NotImplementedError

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> features (B, C, h, w) and summary (B, C)."""
        return self._split(self.tokens(images))

    def attend(self, images: Tensor) -> Attended:
        """The same pass, with the attention of every layer; only where `has_attention`."""
        with self.watched() as rows:
            tokens = self.tokens(images)
        attention = torch.stack([row[:, self.prefix :] for row in rows])
        return Attended(*self._split(tokens), torch.unflatten(attention, 2, self.grid))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        return self.read(images)[0]

    def patches(self, tokens: Tensor) -> Tensor:
        """(B, prefix + h w, C) -> those of the patches as a map (B, C, h, w)."""
        return torch.unflatten(tokens[:, self.prefix :].transpose(1, 2), 2, self.grid)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.patches(tokens), self.summary(tokens)


def check_patches(name: str, size: int, patch: int) -> None:
    """Refuses pictures whose side is no multiple of the patches'.

    Raises:
        ConfigError: naming both and the sizes that would do.
    """
    if size % patch:
        below, above = size - size % patch, size - size % patch + patch
        sizes = f"{below} or {above}" if below else str(above)
        raise ConfigError(
            f"pictures of {size} px do not divide into the patches of {patch} px of {name}",
            f"set preprocessing.size to {sizes}",
        )
