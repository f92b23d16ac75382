"""torchvision's vision transformers."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from fgembed.backbones.attention import capture_multihead_attention
from fgembed.backbones.tokens import TokenTrunk

POSITIONS = "encoder.pos_embedding"


class TorchvisionTokens(TokenTrunk):
    """A `VisionTransformer` without its head, under the same names, so published files load."""

    def __init__(self, model: VisionTransformer) -> None:
        side = model.image_size // model.patch_size
        super().__init__((side, side), prefix=1)
        self.image_size = model.image_size
        self.patch_size = model.patch_size
        self.class_token = model.class_token
        self.conv_proj = model.conv_proj
        self.encoder = model.encoder

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + h w, C)."""
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(images.shape[0], -1, -1)
        tokens: Tensor = self.encoder(torch.cat([first, patches], dim=1))
        return tokens

    def patch_projection(self) -> nn.Module:
        """The convolution over patches."""
        projection: nn.Module = self.conv_proj
        return projection

    def capture_attention(self) -> AbstractContextManager[list[Tensor]]:
        """See `TokenTrunk.capture_attention`."""
        return capture_multihead_attention(layer.self_attention for layer in self.encoder.layers)

    def fit(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file's weights on this grid, with layer names from before torchvision 0.14 renamed.

        Raises:
            ValueError: the file's position embeddings do not form a square grid.
        """
        renamed = {
            key.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): value
            for key, value in state.items()
        }
        if POSITIONS in renamed:
            return dict(interpolate_embeddings(self.image_size, self.patch_size, renamed))
        return renamed
