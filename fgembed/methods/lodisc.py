"""LoDisc (arXiv:2403.04066, IEEE TCSVT 2025): local discrimination on top of MoCo v3.

    A = a_1 * a_2 * ... * a_L     class token's attention to the patches, layer by layer
    M = the floor(keep x N) patches where A is largest
    l_v = projector_k(s_k(x_v * M_v))          the key of the pivotal patches alone
    L = ctr(q_1, k_2) + ctr(q_2, k_1) + ctr(q_1, l_2) + ctr(q_2, l_1)

The query of a whole view must predict the key of the other's pivotal patches; all other pixels
of that key's picture are the mean colour, and all patches are fed. `recipes/lodisc-released.toml`
puts back what the released code does otherwise than the paper's figure.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fgembed.backbones.tokens import AttentionOutput
from fgembed.errors import ConfigError
from fgembed.methods.mocov3 import MoCoV3
from fgembed.model.encoder import Encoder
from fgembed.model.heads import mlp_head
from fgembed.model.module_state import evaluation_mode
from fgembed.model.pooling import PredictorPooling


class LoDisc(MoCoV3):
    """MoCo v3 and a local branch on the momentum encoder; vision transformers only."""

    class Config(MoCoV3.Config):
        """The paper's values; in brackets what the released code does."""

        dimensions: int = Field(768, ge=2, description="of projections; without them the token's")
        dropout: float = Field(0.2, ge=0, lt=1, description="in both heads")
        freeze_patches: bool = Field(False, description="asked for, but not done, by the code")
        keep: float = Field(0.3, gt=0, lt=1, description="share of the patches kept")
        use_projector: bool = Field(True, description="[false: keys are bare class tokens]")
        ema_repeats: int = Field(1, ge=1, description="moves of the keys a step [4]")
        product: Literal["log-sum", "scaled"] = Field(
            "log-sum", description="over layers, in float32 [scaled: of 1000 x attention]"
        )

    needs_attention = True
    trained_poolings = (PredictorPooling,)
    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        encoder.backbone.require_attention()
        if isinstance(encoder.pooling, PredictorPooling):
            _check_predictor(config)
        super().__init__(encoder, config)

    def make_projector(self, channels: int) -> nn.Module:
        """(B, C) -> (B, D); the identity where the released code skips it."""
        return super().make_projector(channels) if self.config.use_projector else nn.Identity()

    def make_predictor(self, channels: int) -> nn.Module:
        """(B, D) -> (B, D); the identity where the encoder's pooling holds the predictor."""
        if isinstance(self.encoder.pooling, PredictorPooling):
            return nn.Identity()
        if self.config.use_projector:
            return super().make_predictor(channels)
        return mlp_head([channels, self.config.hidden, channels], dropout=self.config.dropout)

    def predict(self, projected: Tensor) -> Tensor:
        """(B, D) -> (B, D), by the pooling's predictor where the encoder is read by it."""
        pooling = self.encoder.pooling
        predictor = pooling.predictor if isinstance(pooling, PredictorPooling) else self.predictor
        predicted: Tensor = predictor(projected)
        return predicted

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The global and the local term of two views."""
        first, second = self.query(views[0]), self.query(views[1])
        with torch.no_grad():
            seen = [self.key_backbone.attend(view) for view in views[:2]]
            keys = [self.key_projector(one.summary) for one in seen]
            pivotal = [
                self.key(pivotal_pixels(view, self.mask(one)))
                for view, one in zip(views, seen, strict=False)
            ]
        return {
            "global": self.contrast(first, keys[1]) + self.contrast(second, keys[0]),
            "local": self.contrast(first, pivotal[1]) + self.contrast(second, pivotal[0]),
        }

    def mask(self, seen: AttentionOutput) -> Tensor:
        """Ones on the pivotal patches: (B, h, w)."""
        return pivotal_patches(seen.attention, self.config.keep, self.config.product)

    def momentum(self) -> float:
        """MoCo v3's, to the power of the moves a step: moving the keys n times is moving by m^n."""
        return super().momentum() ** self.config.ema_repeats

    def illustrate(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The pivotal patches of the first view, and what is left of it."""
        with evaluation_mode(self), torch.no_grad():
            mask = self.mask(self.key_backbone.attend(views[0]))
        return {"mask": mask, "pivotal": pivotal_pixels(views[0], mask)}


def _check_predictor(config: LoDisc.Config) -> None:
    """Refuses settings that a pooling with a predictor of its own would not follow."""
    if config.use_projector:
        raise ConfigError(
            "pooling.kind = 'predictor' reads class tokens, but lodisc's predictor takes "
            "projections",
            "set method.use_projector=false, or pooling.kind='class-token'",
        )
    if (config.hidden, config.dropout) != (PredictorPooling.hidden, PredictorPooling.dropout):
        raise ConfigError(
            f"pooling.kind = 'predictor' is {PredictorPooling.hidden} wide with dropout "
            f"{PredictorPooling.dropout}",
            "leave out method.hidden and method.dropout",
        )


def pivotal_patches(
    attention: Tensor, keep: float, product: Literal["log-sum", "scaled"] = "log-sum"
) -> Tensor:
    """M: ones on the floor(keep x N) patches of largest product over layers, (B, h, w).

    The log-sum ranks as the product does; the released code's product of 1000 x attention
    neither under- nor overflows float32 only where the layers are few enough.

    Args:
        attention: (L, B, h, w), >= 0.
        keep: share of the N = h x w patches; at least one is kept.
        product: how the layers are multiplied.
    """
    rows = attention.float().flatten(2)  # (L, B, N)
    if product == "log-sum":
        strength = (rows + 1e-12).log().sum(dim=0)
    else:
        strength = (1000 * rows).prod(dim=0)
    kept = strength.topk(max(1, int(keep * rows.shape[2])), dim=1).indices
    mask = torch.zeros_like(strength).scatter_(1, kept, 1.0)
    return mask.reshape(attention.shape[1:])


def pivotal_pixels(images: Tensor, mask: Tensor) -> Tensor:
    """Normalised (B, 3, H, W) with zeros, the mean colour, outside the mask (B, h, w)."""
    return images * F.interpolate(mask[:, None], size=images.shape[-2:], mode="nearest")
