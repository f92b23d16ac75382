"""LCR (arXiv:2303.01669, CVPR 2023): learn the rationale that instances have in common.

On top of MoCo v2, a maxout of 32 linear detectors (`RationalePooling`) learns to predict which
positions raise the contrastive loss:

    G = ReLU(sum_c F_c * dL_contrast/dF_c)              Grad-CAM of the loss, a constant
    A = min-max of max_k ReLU(BN(w_k . F))              the detectors' response
    L = L_contrast + weight x KL(softmax(G/t) || softmax(A/t))

Shapes: the query's feature map F (B, C, h, w), its gradient the same, G and A (B, h, w); the
softmax is over the h x w positions of an image, and the divergence a mean over images.

A few detectors, shared by all images, can only fit patterns that recur. The formulas are those of
the released code (github.com/GANPerf/LCR). The defaults correct its slips;
`recipes/lcr-paper.toml` restores them.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from fgembed.backbones import Backbone
from fgembed.errors import ConfigError
from fgembed.methods.components.losses import map_kl
from fgembed.methods.components.rationale_figures import (
    common_share,
    correlation,
    explained,
    gradient_ratio,
)
from fgembed.methods.moco import MoCo
from fgembed.model.encoder import Encoder
from fgembed.model.maps import grad_cam, min_max, peak_normalised
from fgembed.model.module_state import keep_statistics
from fgembed.model.pooling import RationaleGeMPooling, RationalePooling


class LCR(MoCo):
    """MoCo v2 and the rationale term; exports rationale-weighted pooling.

    Example:
        >>> from fgembed.backbones import make_backbone
        >>> from fgembed.model.pooling import RationalePooling
        >>> backbone = make_backbone("torchvision/resnet18:layer1", size=32)
        >>> method = LCR(Encoder(backbone, RationalePooling(64)), LCR.Config(queue_size=8))
        >>> views = [torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)]
        >>> [(name, term.shape) for name, term in method(views).items()]
        [('contrast', torch.Size([])), ('rationale', torch.Size([]))]
    """

    class Config(MoCo.Config):
        """Recommended settings; in brackets what the released code does."""

        weight: float = Field(1.28, gt=0, description="of the rationale [0.01 x sum over 128]")
        map_temperature: float = Field(0.4, gt=0, description="t [1]")
        axis: Literal["map", "row"] = Field("map", description="one softmax per map [row]")
        reduction: Literal["mean", "sum"] = Field("mean", description="over images [sum]")
        cam_scale: Literal["peak", "none"] = Field("peak", description="G over its peak [none]")
        cam_sign: Literal[1, -1] = Field(1, description="+1: what raises the loss [+1]")
        detach_target: bool = Field(True, description="G takes no gradient [false]")
        detach_features: bool = Field(
            False, description="the term trains the detectors alone [false]"
        )
        scale_over: Literal["image", "batch", "none"] = Field(
            "image", description="min-max of A in the term; none: A' itself [batch]"
        )

        @field_validator("scale_over", mode="before")
        @classmethod
        def _accept_former_name(cls, value: Any) -> Any:
            """Config files of earlier runs hold "picture"."""
            if value != "picture":
                return value
            former = 'method.scale_over = "picture" is now called "image"'
            warnings.warn(former, FutureWarning, stacklevel=2)
            return "image"

    trained_poolings = (RationalePooling,)
    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        if not isinstance(encoder.pooling, RationalePooling):
            raise ConfigError(
                f"{type(self).__name__.lower()} trains rationale pooling, got pooling.kind = "
                f"{encoder.pooling.kind!r}",
                "set pooling.kind to 'auto'",
            )
        super().__init__(encoder, config)

    @classmethod
    def pooling_for(cls, backbone: Backbone) -> str:
        """Rationale pooling by GeM's mean, which retrieves better; by the mean of a signed map."""
        return RationalePooling.kind if backbone.signed else RationaleGeMPooling.kind

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The contrastive and the rationale term of two views."""
        contrast, features = self.contrast(views)
        rationale = self.map_loss(*self.maps(contrast, views[0], features))
        return {"contrast": contrast, "rationale": self.config.weight * rationale}

    def maps(self, contrast: Tensor, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The target and what is to predict it, each (B, h, w): G and A.

        Args:
            contrast: the contrastive loss, ().
            images: that it was computed from, (B, 3, H, W).
            features: their map F, (B, C, h, w).
        """
        return self.cam(contrast, features), self.rationale_map(features)

    def diagnose(self, views: Sequence[Tensor]) -> dict[str, float]:
        """Whether the branch works: see `components.rationale_figures`; of the loss as trained.

        Returns:
            `rationale explained` and `rationale correlation` of A with G, `common gradient` of the
            contrastive loss, and `gradient ratio` of the weighted term to it, all at the map F.
        """
        device = views[0].device
        forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
        with forked, keep_statistics(self), torch.enable_grad():
            images = self.leaf(views[0])
            features = self.encoder.features(images).float()
            contrast = self.loss(self.query(features), self.keys(views[1]), self.queue.rows())
            target, prediction = self.maps(contrast, images, features)
            term = self.config.weight * self.map_loss(target, prediction)
            gradients = [
                torch.autograd.grad(loss, features, retain_graph=True, allow_unused=True)[0]
                for loss in (term, contrast)
            ]
        of_term, of_contrast = (torch.zeros(1) if g is None else g for g in gradients)
        target, prediction = target.detach(), prediction.detach()
        return {
            "rationale explained": explained(target, prediction, self.config.map_temperature),
            "rationale correlation": correlation(target, prediction),
            "common gradient": common_share(of_contrast),
            "gradient ratio": gradient_ratio(of_term, of_contrast),
        }

    def leaf(self, images: Tensor) -> Tensor:
        """The first view as the loss is computed from it."""
        return images

    def map_loss(self, target: Tensor, prediction: Tensor) -> Tensor:
        """KL(softmax(target/t) || softmax(prediction/t)) of (B, h, w) maps, under the settings."""
        return map_kl(
            target,
            prediction,
            temperature=self.config.map_temperature,
            axis=self.config.axis,
            reduction=self.config.reduction,
        )

    @property
    def rationale_pooling(self) -> RationalePooling:
        """The encoder's pooling, which this method trains."""
        pooling = self.encoder.pooling
        assert isinstance(pooling, RationalePooling)
        return pooling

    def rationale_map(self, features: Tensor) -> Tensor:
        """A, (B, h, w) in [0, 1], or A' unscaled; takes gradient."""
        seen = features.detach() if self.config.detach_features else features
        response = self.rationale_pooling.response(seen)
        scale = self.config.scale_over
        return response if scale == "none" else min_max(response, scale)

    def cam(self, contrast: Tensor, features: Tensor) -> Tensor:
        """G, (B, h, w): which positions of the query's feature map raise the contrastive loss.

        First order only, of the unscaled loss, in float32 even under mixed precision.
        """
        (gradient,) = torch.autograd.grad(contrast, features, retain_graph=True)
        factor = features.detach() if self.config.detach_target else features
        cam = grad_cam(factor.float(), gradient.float(), self.config.cam_sign)
        return peak_normalised(cam) if self.config.cam_scale == "peak" else cam
