"""LoDisc (arXiv:2403.04066, IEEE TCSVT 2025): local discrimination on top of MoCo v3.

    A = a_1 * a_2 * ... * a_L     the class token's attention to the patches, layer by layer
    M = 1 on the floor(keep x N) patches where A is largest, else 0
    l_v = projector_k(s_k(x_v * M_v))          the key of the pivotal patches alone
    L = ctr(q_1, k_2) + ctr(q_2, k_1) + ctr(q_1, l_2) + ctr(q_2, l_1)

Shapes: a_l, A and M (B, h, w) for N = h x w patches; q, k, l (B, D). q, k, s and ctr are MoCo v3's
(`mocov3`); attention is the mean over heads, of the key backbone.

The query of a full view must predict the key of the other view's pivotal patches. All other pixels
of that view become the mean colour, and all patches are fed. The formulas are those of the paper's
figure and the released code (github.com/huanglab-research/LoDisc);
`recipes/lodisc-released.toml` restores where the code differs from the figure.
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

        dimensions: int = Field(768, ge=2, description="of projections; unused without a projector")
        dropout: float = Field(0.2, ge=0, lt=1, description="in both heads")
        freeze_patches: bool = Field(False, description="requested, but not done, by the code")
        keep: float = Field(0.3, gt=0, lt=1, description="share of pivotal patches")
        use_projector: bool = Field(True, description="[false: keys are bare class tokens]")
        ema_repeats: int = Field(1, ge=1, description="updates of the keys per step [4]")
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
        """(B, D) -> (B, D), by the pooling's predictor where the encoder's pooling has one."""
        pooling = self.encoder.pooling
        predictor = pooling.predictor if isinstance(pooling, PredictorPooling) else self.predictor
        predicted: Tensor = predictor(projected)
        return predicted

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The global and the local term of two views."""
        first, second = self.query(views[0]), self.query(views[1])
        with torch.no_grad():
            attended = [self.key_backbone.attend(view) for view in views[:2]]
            keys = [self.key_projector(view.summary) for view in attended]
            pivotal = [
                self.key(pivotal_pixels(images, self.mask(view)))
                for images, view in zip(views, attended, strict=False)
            ]
        return {
            "global": self.contrast(first, keys[1]) + self.contrast(second, keys[0]),
            "local": self.contrast(first, pivotal[1]) + self.contrast(second, pivotal[0]),
        }

    def mask(self, attended: AttentionOutput) -> Tensor:
        """M, ones on the pivotal patches: (B, h, w)."""
        return pivotal_patches(attended.attention, self.config.keep, self.config.product)

    def momentum(self) -> float:
        """MoCo v3's m, as m^n for n updates per step: n updates by m equal one by m^n."""
        return super().momentum() ** self.config.ema_repeats

    def illustrate(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The mask of the first view's pivotal patches, and the view under it."""
        with evaluation_mode(self), torch.no_grad():
            mask = self.mask(self.key_backbone.attend(views[0]))
        return {"mask": mask, "pivotal": pivotal_pixels(views[0], mask)}


def _check_predictor(config: LoDisc.Config) -> None:
    """Refuses settings that a pooling with its own predictor would ignore."""
    if config.use_projector:
        raise ConfigError(
            "pooling.kind = 'predictor' reads class tokens, but lodisc's predictor takes "
            "projections",
            "set method.use_projector=false, or pooling.kind='class-token'",
        )
    if (config.hidden, config.dropout) != (PredictorPooling.hidden, PredictorPooling.dropout):
        raise ConfigError(
            f"pooling.kind = 'predictor' is {PredictorPooling.hidden} wide with dropout "
            f"{PredictorPooling.dropout}, got method.hidden = {config.hidden} and method.dropout = "
            f"{config.dropout}",
            "leave out method.hidden and method.dropout",
        )


def pivotal_patches(
    attention: Tensor, keep: float, product: Literal["log-sum", "scaled"] = "log-sum"
) -> Tensor:
    """M: ones on the floor(keep x N) patches of largest product over layers, (B, h, w).

    The log-sum ranks as the product does. The released code multiplies 1000 x attention, which
    stays within float32 only if the layers are few enough.

    Args:
        attention: a_1 .. a_L, (L, B, h, w), >= 0.
        keep: share of the N = h x w patches; at least one patch is pivotal.
        product: how the layers are multiplied.

    Example:
        >>> layers = torch.tensor([[[[0.5, 0.3, 0.2]]], [[[0.1, 0.6, 0.3]]]])
        >>> pivotal_patches(layers, keep=0.34)  # of the products 0.05, 0.18, 0.06
        tensor([[[0., 1., 0.]]])
    """
    rows = attention.float().flatten(2)  # (L, B, N)
    if product == "log-sum":
        strength = (rows + 1e-12).log().sum(dim=0)
    else:
        strength = (1000 * rows).prod(dim=0)
    pivotal = strength.topk(max(1, int(keep * rows.shape[2])), dim=1).indices
    mask = torch.zeros_like(strength).scatter_(1, pivotal, 1.0)
    return mask.reshape(attention.shape[1:])


def pivotal_pixels(images: Tensor, mask: Tensor) -> Tensor:
    """Normalised (B, 3, H, W) with zeros, the mean colour, outside the mask (B, h, w)."""
    return images * F.interpolate(mask[:, None], size=images.shape[-2:], mode="nearest")
