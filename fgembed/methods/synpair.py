"""SynPair (arXiv:2407.14676, ECCV 2024): learn from pairs that differ where it should not matter.

On top of MoCo v2, a decoder D learns to reconstruct an image from its code h, the mean of its
feature map. Dimensions of h that discriminate little are then perturbed, and the encoder learns
that the two decoded images, of h and of the perturbed h~, are the same:

    V_k = 1[sigma_k <= quantile(sigma)]      sigma: deviation over a bank of unit codes
    U_k = 1[c_k <= quantile(c)]              c = |h * dL_contrast/dh|, for each image
    h~  = ReLU(h + N * eps)                  N = V or U, eps ~ Normal(0, (noise_scale x s)^2)
    L   = L_contrast + 0.05 x mean (D(h) - x)^2 + nu x InfoNCE(f(sg D(h~)), f_k(sg D(h)), queue)

Shapes: x and D(h) (B, 3, H, W); h, h~, c, U, N, eps (B, C); sigma and V (C,). f is backbone and
projector to a unit vector (B, D), f_k its momentum copy, sg stops the gradient. s is the mean over
k of the deviation of h_k over the bank, h not normalised, because the noise is added to h itself.
nu is 0 while the decoder warms up, then rises.

This is a reconstruction: no code is published, and of the paper only its abstract, which names
the two criteria, and the form of L were available. The 0.05 and Adam's 1e-4 are those of the
authors' earlier code (CAE, github.com/zihuwang97/contrast_autoencoder); all other values are
proposals.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fgembed.config import ViewSettings
from fgembed.methods.components.decoder import full_decoder, light_decoder
from fgembed.methods.components.memory_bank import MemoryBank
from fgembed.methods.components.perturbation import (
    Dimensions,
    Importance,
    clamped_like,
    deviation,
    importance,
    lowest,
    perturbed_dimensions,
    with_noise,
    with_replacement,
)
from fgembed.methods.components.tensor_views import SMALLEST_CROP, light_views
from fgembed.methods.moco import MoCo
from fgembed.model.encoder import Encoder
from fgembed.model.module_state import evaluation_mode, keep_statistics


class SynPair(MoCo):
    """MoCo v2, a decoder, and a contrast of decoded with perturbed images."""

    class Config(MoCo.Config):
        """Proposed values; `unknown` marks those for which the paper's own are not known."""

        decoder: Literal["light", "full"] = Field(
            "light", description="full: a mirrored ResNet-50, ten times the cost [unknown]"
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
        bank_size: int = Field(4096, ge=2, description="codes that sigma is over [unknown]")
        variance_share: float = Field(0.3, ge=0, le=1, description="of dimensions in V [unknown]")
        importance_share: float = Field(0.3, ge=0, le=1, description="in U [unknown]")
        importance: Importance = Field(
            "product",
            description="|h dL/dh|; gradient: |dL/dh|; positive: ReLU(h dL/dh) [unknown]",
        )
        dims: Dimensions = Field("or", description="V or U, V and U, V alone, U alone [unknown]")
        noise: Literal["gaussian", "replacement"] = Field(
            "gaussian", description="replacement: values of another image [unknown]"
        )
        noise_scale: float = Field(1.0, ge=0, description="of the Gaussian noise [unknown]")
        augment: bool = Field(
            True, description="flip and crop decoded images, no more than `views` [unknown]"
        )

    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, config)
        channels = encoder.backbone.channels
        make_decoder = full_decoder if config.decoder == "full" else light_decoder
        self.decoder = make_decoder(channels)
        self.bank = MemoryBank(config.bank_size, channels)
        self.smallest_crop, self.flip_probability = SMALLEST_CROP, 0.5

    def take_views(self, settings: ViewSettings) -> None:
        """Decoded images are flipped as the views are, and cropped as much at most."""
        self.smallest_crop = max(SMALLEST_CROP, settings.crop_scale)
        self.flip_probability = settings.flip_probability

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The contrastive and the reconstruction term and, past the warm-up, that of the pairs."""
        weight = self.config.pair_weight * ramp(
            self.progress, self.config.warmup_share, self.config.ramp_share
        )
        # As it was before this step: an image's new key is no negative of its decoded self.
        negatives = self.queue.rows().clone() if weight else self.queue.rows()
        contrast, features = self.contrast(views)
        code = code_of(features)
        self.bank.enqueue(code.detach())
        decoder_input = code if self.config.reconstruct_encoder else code.detach()
        decoded = self.decode(decoder_input, views[0])
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
        """D(h): (B, C) -> normalised images in float32, of the size of `like`."""
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
        unimportant = lowest(scores, config.importance_share)
        mask = perturbed_dimensions(low_variance, unimportant, config.dims)
        if config.noise == "replacement":
            moved = with_replacement(code, mask)
        else:
            moved = with_noise(code, mask, config.noise_scale * deviation(rows).mean())
        return clamped_like(moved, code)

    def pair(self, decoded: Tensor, moved: Tensor, negatives: Tensor) -> Tensor:
        """InfoNCE of the query of D(h~) and the key of D(h), which is not enqueued.

        The decoder takes no gradient from it. Batch norms normalise these passes by their own
        batch but do not record them: blurry images would shift the running statistics of the
        encoder, and perturbed codes those of the decoder.

        Args:
            decoded: D(h), (B, 3, H, W), constant.
            moved: h~, (B, C), constant.
            negatives: (K, D), the queue.
        """
        with keep_statistics(self):
            with torch.no_grad():
                images = [self.decode(moved, decoded), decoded]
                if self.config.augment:
                    images = [
                        light_views(batch, self.smallest_crop, self.flip_probability)
                        for batch in images
                    ]
            query = self.query(self.encoder.features(images[0]))
            return self.loss(query, self.keys(images[1]), negatives)

    def illustrate(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The image, its reconstruction, and the one from its perturbed code."""
        decoded, changed = self.synthesised(views)
        return {"original": views[0], "decoded": decoded, "perturbed": changed}

    def diagnose(self, views: Sequence[Tensor]) -> dict[str, float]:
        """How much the perturbation changes; where both are below 0.01, raise `noise_scale`.

        Returns:
            `pixel_change`, |D(h) - D(h~)| / |D(h)|, and `feature_change`, 1 - cos of their
            codes, both means over images.
        """
        decoded, changed = self.synthesised(views)
        with evaluation_mode(self), torch.no_grad():
            first, second = (code_of(self.encoder.features(batch)) for batch in (decoded, changed))
        pixels = (decoded - changed).flatten(1).norm(dim=1)
        pixels = pixels / decoded.flatten(1).norm(dim=1).clamp(min=1e-12)
        features = 1 - F.cosine_similarity(first, second, dim=1)
        return {"pixel_change": float(pixels.mean()), "feature_change": float(features.mean())}

    def synthesised(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """D(h) and D(h~) of views[0], (B, 3, H, W), in evaluation mode; changes no state."""
        with evaluation_mode(self), torch.enable_grad():
            features = self.encoder.features(views[0])
            key = self.keys(views[1])
            contrast = self.loss(self.query(features), key, self.queue.rows())
            code = code_of(features).detach()
            moved = self.perturbed(code, code_gradient(contrast, features))
            with torch.no_grad():
                return self.decode(code, views[0]), self.decode(moved, views[0])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """MoCo's two, and the decoder with its own Adam."""
        decoder = list(self.decoder.parameters())
        in_decoder = {id(parameter) for parameter in decoder}
        backbone, heads = super().parameter_groups()
        heads = heads | {"params": [p for p in heads["params"] if id(p) not in in_decoder]}
        return [backbone, heads, {"params": decoder, "adam": self.config.decoder_rate}]


def ramp(progress: float, warmup_share: float, ramp_share: float) -> float:
    """0 up to the end of the warm-up, then linearly up to 1.

    Example:
        >>> [round(ramp(progress, 0.1, 0.2), 2) for progress in (0.1, 0.2, 0.3, 1.0)]
        [0.0, 0.5, 1.0, 1.0]
    """
    if ramp_share == 0:
        return float(progress >= warmup_share)
    return min(1.0, max(0.0, (progress - warmup_share) / ramp_share))


def code_of(features: Tensor) -> Tensor:
    """h, the mean over positions: (B, C, h, w) -> (B, C) in float32."""
    return features.float().mean(dim=(2, 3))


def code_gradient(contrast: Tensor, features: Tensor) -> Tensor:
    """dL/dh = sum_ij dL/dF_ij, (B, C) in float32, because only the map's mean enters the loss."""
    (gradient,) = torch.autograd.grad(contrast, features, retain_graph=True)
    return gradient.float().sum(dim=(2, 3))
