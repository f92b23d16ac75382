"""PP-SSL (arXiv:2412.00134): CLIP says what to ignore, the image's own CAM where to attend.

On top of MoCo v2 and LCR's rationale branch A = A(F):

    G = ReLU(sum_c x_c * dL_contrast/dx_c)               Grad-CAM of the input image, a constant
    IADM = KL(softmax(pool(G) / t) || softmax(A / t))    uses no label and no text
    u = norm(W norm(mean(A * F)))                        the student's vector in the teacher's space
    p = softmax(s v . T)                                 the teacher's similarity to descriptions
    AIS = KL(p || softmax(100 u . T))                    over the S descriptions of a corpus
    L = L_contrast + weight x IADM + ais_weight x AIS

Shapes: x (B, 3, H, W), G (B, H, W), F (B, C, h, w), A and pool(G) (B, h, w), u and CLIP's image
vectors v (B, D), its text vectors T (S, D), p (B, S); s is CLIP's logit scale. G over its peak
goes into the softmax, over the h x w positions of an image. Both divergences are means over images.

The formulas are those of LearnMat, code of the same group that continues PP-SSL. There, IADM
compares G with a map of the bare pixels, so it trains no encoder at all: mode `released`. The
default compares it with A, which pools the features: mode `feature`. CLIP was trained on 400
million captions: results are not purely visual self-supervision.
"""

import logging
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from fgembed.config import PathText, ViewSettings
from fgembed.data.views import TwoViews, ViewMaker
from fgembed.errors import ConfigError
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.components.losses import description_kl
from fgembed.methods.components.teachers import load_teacher, read_corpus
from fgembed.methods.lcr import LCR
from fgembed.model.encoder import Encoder
from fgembed.model.maps import grad_cam, min_max, peak_normalised

STUDENT_SCALE = 100.0


class PPSSL(LCR):
    """MoCo v2, IADM and AIS; exports rationale-weighted pooling, no CLIP."""

    class Config(LCR.Config):
        """Recommended settings; in brackets what the released code does.

        LCR's settings of the rationale apply to IADM.
        """

        iadm: Literal["released", "feature", "multi", "off"] = Field(
            "feature", description="what the image's CAM trains [released: not the encoder]"
        )
        cam_pool: Literal["max", "mean"] = Field("max", description="of the CAM to A's size [max]")
        ais_weight: float = Field(0.15, ge=0, description="0: no teacher [1.2 over B x S]")
        ais_reduction: Literal["mean", "elements"] = Field(
            "mean", description="over images [over images and descriptions]"
        )
        teacher: str = Field("ViT-B-32:openai", description="open_clip model:tag")
        teacher_weights: PathText = Field(
            "pretrained", description="`pretrained`: the tag's, or a file"
        )
        teacher_normalisation: bool = Field(
            True, description="the teacher's own [false: the student's]"
        )
        corpus: PathText | None = Field(None, description="TOML file of descriptions")

    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        if config.iadm in ("released", "off") and not config.ais_weight:
            raise ConfigError(
                f"with method.iadm = {config.iadm!r} and method.ais_weight = 0 nothing trains the "
                "rationale",
                "set method.iadm to 'feature', raise method.ais_weight, or train method moco",
            )
        super().__init__(encoder, config)
        if config.iadm == "released":
            detectors = self.rationale_pooling.detectors.out_channels
            self.pixel_detectors = nn.Conv2d(3, detectors, kernel_size=1, bias=False)
        self.teacher = None
        if config.ais_weight:
            self.teacher = load_teacher(config.teacher, config.teacher_weights, config.corpus)
            if config.corpus is None:
                logging.getLogger(__name__).warning(
                    "the teacher compares with the built-in corpus (%s); if your photographs "
                    "show none of these, name your own corpus in method.corpus",
                    ", ".join(read_corpus(None)),
                )
            length = self.teacher.texts.shape[1]
            self.to_teacher = nn.Linear(encoder.backbone.channels, length)

    @classmethod
    def view_maker(cls, settings: ViewSettings, spec: Preprocessing) -> ViewMaker:
        """Two views, and the first again in [0, 1] for the teacher."""
        return ViewsForTeacher(settings, spec)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """The contrastive, the IADM and the AIS term of two views."""
        images = self.leaf(views[0])
        contrast, features = self.contrast([images, views[1]])
        rationale = self.rationale_map(features)
        terms = {"contrast": contrast}
        if self.config.iadm != "off":
            maps = self.iadm(contrast, images, features, rationale)
            terms["iadm"] = self.config.weight * self.map_loss(*maps)
        if self.teacher is not None:
            teacher_view = views[2] if self.config.teacher_normalisation else views[0]
            similarity = self.teacher.similarity(
                teacher_view, normalised=not self.config.teacher_normalisation
            )
            terms["ais"] = self.config.ais_weight * self.ais(features, rationale, similarity)
        return terms

    def leaf(self, images: Tensor) -> Tensor:
        """The first view as the leaf with respect to which the loss is differentiated."""
        return images.detach().requires_grad_(self.config.iadm != "off")

    def maps(self, contrast: Tensor, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of IADM's term."""
        return self.iadm(contrast, images, features, self.rationale_map(features))

    def diagnose(self, views: Sequence[Tensor]) -> dict[str, float]:
        """LCR's figures of IADM's term; none without it."""
        return {} if self.config.iadm == "off" else super().diagnose(views)

    def iadm(
        self, contrast: Tensor, images: Tensor, features: Tensor, rationale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """pool(G) and A, as `method.iadm` selects them: (B, h, w) each.

        Args:
            contrast: the contrastive loss, ().
            images: the leaf that it was computed from, (B, 3, H, W).
            features: F, (B, C, h, w).
            rationale: A, (B, h, w).
        """
        cam = self.image_cam(contrast, images)  # (B, H, W)
        target = self._scaled(self._pooled(cam, features))  # (B, h, w)
        if self.config.iadm == "multi":
            target = (target + self.cam(contrast, features)) / 2
        if self.config.iadm == "released":
            rationale = self._pooled(self.pixel_map(images.detach()), features)
        return target, rationale

    def image_cam(self, contrast: Tensor, images: Tensor) -> Tensor:
        """G, (B, H, W): which pixels raise the contrastive loss; first order, float32."""
        (gradient,) = torch.autograd.grad(contrast, images, retain_graph=True)
        return grad_cam(images.detach().float(), gradient.float(), self.config.cam_sign)

    def pixel_map(self, images: Tensor) -> Tensor:
        """The released code's A of bare pixels, through the rationale's batch norm: (B, H, W)."""
        norm = self.rationale_pooling.norm
        response = F.relu(norm(self.pixel_detectors(images))).amax(dim=1)
        scale = self.config.scale_over
        return response if scale == "none" else min_max(response, scale)

    def ais(self, features: Tensor, rationale: Tensor, similarity: Tensor) -> Tensor:
        """The KL from the teacher's similarity p (B, S) to the student's, which A pools."""
        weighted = (features * rationale.unsqueeze(1)).mean(dim=(2, 3))  # (B, C)
        assert self.teacher is not None
        with torch.autocast(features.device.type, enabled=False):  # logits need float32
            student = self.to_teacher(F.normalize(weighted.float(), dim=1))
            logits = STUDENT_SCALE * F.normalize(student, dim=1) @ self.teacher.texts.T
            return description_kl(similarity, logits, self.config.ais_reduction)

    def _pooled(self, maps: Tensor, features: Tensor) -> Tensor:
        pool = F.adaptive_max_pool2d if self.config.cam_pool == "max" else F.adaptive_avg_pool2d
        side = (features.shape[2], features.shape[3])
        return pool(maps.unsqueeze(1), side).squeeze(1)

    def _scaled(self, cam: Tensor) -> Tensor:
        return peak_normalised(cam) if self.config.cam_scale == "peak" else cam


class ViewsForTeacher(TwoViews):
    """Two views, and the first again without its normalisation."""

    def __init__(self, settings: ViewSettings, spec: Preprocessing) -> None:
        super().__init__(settings, spec)
        self.mean = torch.tensor(spec.mean).view(3, 1, 1)
        self.std = torch.tensor(spec.std).view(3, 1, 1)

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """Three tensors (3, size, size)."""
        first, second = super().__call__(image)
        return [first, second, first * self.std + self.mean]
