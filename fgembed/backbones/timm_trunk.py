"""timm's models as trunks that give a feature map or tokens."""

from contextlib import AbstractContextManager

from torch import Tensor, nn

from fgembed.backbones.attention import capture_fused_attention
from fgembed.backbones.tokens import TokenTrunk

# Children that most models use after pooling, in `forward_head`, and some before it.
HEADS = ("head", "conv_head", "norm_head", "in_conv", "pre_classifier")


class TimmMap(nn.Module):
    """The input of the model's own pooling, channels first; the layers after it are removed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        for name in set(HEADS).difference(type(model).forward_features.__code__.co_names):  # type: ignore[attr-defined]
            head = getattr(model, name, None)  # a string in HRNet
            if isinstance(head, nn.Module) and any(True for _ in head.parameters()):
                setattr(model, name, _Removed())
        self.channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        features: Tensor = self.model.forward_features(images)  # type: ignore[operator]
        return features.permute(0, 3, 1, 2) if self.channels_last else features


class _Removed(nn.Module):
    """Replaces a head, so that a model whose map passes through it fails when it is built."""

    def forward(self, features: Tensor) -> Tensor:
        """Always raises; `Backbone` turns it into a ConfigError."""
        raise AssertionError("the map passes through what timm calls a head")


class TimmTokens(TokenTrunk):
    """`VisionTransformer` and its relatives, with any number of class and register tokens.

    The summary is the class token. It is the model's own pooled vector if there is no class
    token, or if a norm after pooling or attention pooling precedes the classifier.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(patch_grid(model), int(model.num_prefix_tokens))  # type: ignore[arg-type]
        self.model = model
        class_token = getattr(model, "cls_token", None) is not None
        has_pooling_layer = getattr(model, "attn_pool", None) is not None or not isinstance(
            getattr(model, "fc_norm", nn.Identity()), nn.Identity
        )
        self.reads_class_token = class_token and not has_pooling_layer
        self.has_attention = class_token and _all_fused(model)

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, prefix + h w, C)."""
        tokens: Tensor = self.model.forward_features(images)  # type: ignore[operator]
        return tokens

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, prefix + h w, C) -> (B, C)."""
        if self.reads_class_token:
            return tokens[:, 0]
        pooled: Tensor = self.model.forward_head(tokens, pre_logits=True)  # type: ignore[operator]
        return pooled

    def patch_projection(self) -> nn.Module:
        """The convolution over patches; in a hybrid the complete stem."""
        embedding = self.model.patch_embed
        projection = getattr(embedding, "proj", embedding)
        assert isinstance(projection, nn.Module)
        return projection

    def capture_attention(self) -> AbstractContextManager[list[Tensor]]:
        """See `TokenTrunk.capture_attention`; attention pooling is no layer and left out."""
        blocks = self.model.blocks
        assert isinstance(blocks, nn.Module)
        return capture_fused_attention(blocks.modules())


def _all_fused(model: nn.Module) -> bool:
    """Whether each block can use torch's fused attention over all tokens."""
    blocks = getattr(model, "blocks", None)
    return isinstance(blocks, nn.Module) and all(
        any(hasattr(module, "fused_attn") for module in block.modules())
        for block in blocks.children()
    )


def has_tokens(model: nn.Module) -> bool:
    """Whether its features are prefix tokens and the tokens of a grid of patches."""
    embedding = getattr(model, "patch_embed", None)
    return isinstance(getattr(model, "num_prefix_tokens", None), int) and hasattr(
        embedding, "grid_size"
    )


def patch_grid(model: nn.Module) -> tuple[int, int]:
    """(h, w), patches per column and per row."""
    height, width = model.patch_embed.grid_size  # type: ignore[union-attr, misc]
    return int(height), int(width)
