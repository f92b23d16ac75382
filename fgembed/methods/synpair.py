"""SynPair (Wang et al., ECCV 2024): learn from pairs that differ where it should not matter.

On top of MoCo v2, a decoder D learns to give a picture back from its code h, the mean of its
feature map. Dimensions of h that tell little apart are then moved, and the encoder learns that
the two decoded pictures, of h and of the moved h~, are the same:

    V_k = 1[sigma_k <= quantile(sigma)]      sigma: deviation over a bank of unit codes
    U_k = 1[c_k <= quantile(c)]              c = |h * dL_contrast/dh|, for each picture
    h~  = ReLU(h + N * eps)                  N = V or U, eps ~ Normal(0, (noise_scale x s)^2)
    L   = L_contrast + 0.05 x mean (D(h) - x)^2 + nu x InfoNCE(f(sg D(h~)), f_k(sg D(h)), queue)

s is the mean over k of the deviation of h_k over the bank, h not normalised, for the noise is
added to h itself. nu is 0 until the decoder can draw, then rises.

Only the abstract and second-hand accounts of the paper could be read: what follows is
METHODS.md 4, whose values are proposals but for the 0.05 and Adam's 1e-4, which are those of
the authors' earlier code (CAE).
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fgembed.methods.components.decoder import full_decoder, light_decoder
from fgembed.methods.components.perturbation import (
    Dimensions,
    Importance,
    chosen,
    clamped_like,
    deviation,
    importance,
    lowest,
    with_noise,
    with_replacement,
)
from fgembed.methods.components.tensor_views import light_views
from fgembed.methods.components.variance_bank import VarianceBank
from fgembed.methods.moco import MoCo
from fgembed.model.encoder import Encoder
from fgembed.model.module_state import evaluation_mode, keep_statistics


class SynPair(MoCo):
    """MoCo v2, a decoder, and a contrast of decoded with perturbed pictures."""

    class Config(MoCo.Config):
        """Proposed values: where it says `unknown`, the paper's own could not be read."""

        decoder: Literal["light", "full"] = Field(
            "light", description="full: a mirrored ResNet-50, about ten times dearer [unknown]"
        )
        decoder_rate: float = Field(1e-4, gt=0, description="of the decoder's Adam [unknown]")
        reconstruction_weight: float = Field(0.05, ge=0, description="alpha [unknown]")
        reconstruct_encoder: bool = Field(
            True, description="the reconstruction trains the encoder too [unknown]"
        )
        pair_weight: float = Field(0.5, ge=0, description="nu after its ramp [unknown]")
        warmup_share: float = Field(
            0.1, ge=0, le=1, description="of the training, with nu = 0 [unknown]"
        )
        ramp_share: float = Field(
            0.05, ge=0, le=1, description="of the training, in which nu rises [unknown]"
        )
        bank_size: int = Field(4096, ge=2, description="codes that sigma is taken over [unknown]")
        variance_share: float = Field(0.3, ge=0, le=1, description="of dimensions in V [unknown]")
        importance_share: float = Field(0.3, ge=0, le=1, description="in U [unknown]")
        importance: Importance = Field(
            "product",
            description="|h dL/dh|; gradient: |dL/dh|; positive: ReLU(h dL/dh) [unknown]",
        )
        dims: Dimensions = Field("or", description="V or U, V and U, V alone, U alone [unknown]")
        noise: Literal["gaussian", "replacement"] = Field(
            "gaussian", description="replacement: values of another picture [unknown]"
        )
        noise_scale: float = Field(1.0, ge=0, description="of the Gaussian noise [unknown]")
        augment: bool = Field(True, description="flip and crop decoded pictures [unknown]")

    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, config)
        channels = encoder.backbone.channels
        make_decoder = full_decoder if config.decoder == "full" else light_decoder
        self.decoder = make_decoder(channels)
        self.bank = VarianceBank(config.bank_size, channels)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The contrastive and the reconstruction term, and past the warm-up that of the pairs."""
        weight = self.config.pair_weight * ramp(
            self.progress, self.config.warmup_share, self.config.ramp_share
        )
        # As it was before this step: a picture's own new key is no negative of its decoded self.
        negatives = self.queue.keys.clone() if weight else self.queue.keys
        contrast, features = self.contrast(views)
        code = code_of(features)
        self.bank.push(code.detach())
        given = code if self.config.reconstruct_encoder else code.detach()
        decoded = self.decode(given, views[0])
        reconstruction = F.mse_loss(decoded, views[0])
        terms = {
            "contrast": contrast,
            "reconstruction": self.config.reconstruction_weight * reconstruction,
        }
        if weight:
            moved = self.perturbed(code.detach(), code_gradient(contrast, features))
            terms["pair"] = weight * self.pair(decoded.detach(), moved, negatives)
        return terms

    def decode(self, code: Tensor, like: Tensor) -> Tensor:
        """D(h): (B, C) -> normalised pictures in float32, of the size of `like`."""
        height, width = like.shape[-2:]
        decoded: Tensor = self.decoder(code, (height, width))
        return decoded.float()

    def perturbed(self, code: Tensor, gradient: Tensor) -> Tensor:
        """h~ (B, C), of h and dL_contrast/dh, both (B, C) and constant."""
        config, rows = self.config, self.bank.rows()
        if not len(rows):  # illustrated before the first step
            rows = code
        low_variance = lowest(deviation(F.normalize(rows, dim=1)), config.variance_share)
        scores = importance(code, gradient, config.importance)
        mask = chosen(low_variance, lowest(scores, config.importance_share), config.dims)
        if config.noise == "replacement":
            moved = with_replacement(code, mask)
        else:
            moved = with_noise(code, mask, config.noise_scale * deviation(rows).mean())
        return clamped_like(moved, code)

    def pair(self, decoded: Tensor, moved: Tensor, negatives: Tensor) -> Tensor:
        """InfoNCE of the query of D(h~) and the key of D(h), which is not enqueued.

        The decoder takes no gradient from it. The passes normalise by their own batch but no
        batch norm records them: blurry pictures would shift the running statistics, and those
        of the decoder are to be of codes as they are.

        Args:
            decoded: D(h), (B, 3, H, W), constant.
            moved: h~, (B, C), constant.
            negatives: (K, D), the queue.
        """
        with keep_statistics(self):
            with torch.no_grad():
                pictures = [self.decode(moved, decoded), decoded]
                if self.config.augment:
                    pictures = [light_views(each) for each in pictures]
            query = self.query(self.encoder.features(pictures[0]))
            return self.loss(query, self.keys(pictures[1]), negatives)

    def illustrate(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The picture, decoded, and decoded from its perturbed code."""
        decoded, changed = self.synthesised(views)
        return {"original": views[0], "decoded": decoded, "perturbed": changed}

    def diagnose(self, views: Sequence[Tensor]) -> dict[str, float]:
        """What the perturbation does; below 0.01, raise `noise_scale` (METHODS.md 4.7).

        Returns:
            `pixel_change`, |D(h) - D(h~)| / |D(h)|, and `feature_change`, 1 - cos of their
            codes, each the mean over the pictures.
        """
        decoded, changed = self.synthesised(views)
        with evaluation_mode(self), torch.no_grad():
            first, second = (code_of(self.encoder.features(each)) for each in (decoded, changed))
        pixels = (decoded - changed).flatten(1).norm(dim=1)
        pixels = pixels / decoded.flatten(1).norm(dim=1).clamp(min=1e-12)
        features = 1 - F.cosine_similarity(first, second, dim=1)
        return {"pixel_change": float(pixels.mean()), "feature_change": float(features.mean())}

    def synthesised(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """D(h) and D(h~) of views[0], (B, 3, H, W), in evaluation mode; changes no state."""
        with evaluation_mode(self), torch.enable_grad():
            features = self.encoder.features(views[0])
            key = self.keys(views[1])
            contrast = self.loss(self.query(features), key, self.queue.keys)
            code = code_of(features).detach()
            moved = self.perturbed(code, code_gradient(contrast, features))
            with torch.no_grad():
                return self.decode(code, views[0]), self.decode(moved, views[0])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """MoCo's two, and the decoder with an Adam of its own."""
        decoder = list(self.decoder.parameters())
        own = {id(parameter) for parameter in decoder}
        backbone, heads = super().parameter_groups()
        heads = heads | {"params": [p for p in heads["params"] if id(p) not in own]}
        return [backbone, heads, {"params": decoder, "adam": self.config.decoder_rate}]


def ramp(progress: float, warmup_share: float, ramp_share: float) -> float:
    """0 up to the end of the warm-up, from there in a straight line to 1."""
    if ramp_share == 0:
        return float(progress >= warmup_share)
    return min(1.0, max(0.0, (progress - warmup_share) / ramp_share))


def code_of(features: Tensor) -> Tensor:
    """h: (B, C, h, w) -> (B, C) in float32."""
    return features.float().mean(dim=(2, 3))


def code_gradient(contrast: Tensor, features: Tensor) -> Tensor:
    """dL/dh (B, C) in float32, = sum_ij dL/dF_ij: the map enters the loss by its mean alone."""
    (gradient,) = torch.autograd.grad(contrast, features, retain_graph=True)
    return gradient.float().sum(dim=(2, 3))
