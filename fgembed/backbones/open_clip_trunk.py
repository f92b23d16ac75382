"""open_clip's visual towers as trunks, without the projection to the text embedding space."""

from contextlib import AbstractContextManager

from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from fgembed.backbones.attention import capture_multihead_attention
from fgembed.backbones.tokens import TokenTrunk


class OpenClipMap(nn.Module):
    """The map of a `ModifiedResNet`, before CLIP's attention pooling."""

    def __init__(self, visual: ModifiedResNet) -> None:
        super().__init__()
        visual.attnpool = None
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        features = self.visual.stem(images)
        for number in (1, 2, 3, 4):
            features = getattr(self.visual, f"layer{number}")(features)
        return features  # type: ignore[no-any-return]


class OpenClipTokens(TokenTrunk):
    """A `VisionTransformer`; the summary is the input of CLIP's projection."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__(visual.grid_size, prefix=1)
        visual.proj = None
        self.visual = visual
        blocks = visual.transformer.resblocks
        self.has_attention = all(isinstance(block, ResidualAttentionBlock) for block in blocks)

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + h w, C), after `ln_post` unless that follows pooling."""
        tokens: Tensor = self.visual.transformer(self.visual._embeds(images))
        return tokens if self.visual.final_ln_after_pool else self.visual.ln_post(tokens)

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, 1 + h w, C) -> (B, C)."""
        pooled: Tensor = self.visual._global_pool(tokens)[0]
        return self.visual.ln_post(pooled) if self.visual.final_ln_after_pool else pooled

    def patch_projection(self) -> nn.Module:
        """The convolution over patches."""
        projection: nn.Module = self.visual.conv1
        return projection

    def capture_attention(self) -> AbstractContextManager[list[Tensor]]:
        """See `TokenTrunk.capture_attention`."""
        return capture_multihead_attention(
            block.attn for block in self.visual.transformer.resblocks
        )
