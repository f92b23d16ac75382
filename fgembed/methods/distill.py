"""Distillation: the encoder learns what a dearer reading of the same images gives, without labels.

The teacher is the untouched start at its own and at larger sizes, as far as the photographs have
the pixels (`training.teachers.sizes`), with the mirror image where the run reads it: its unit
vectors t (N, D) of all training images, in which the cosines of the sizes and then mutual
neighbours are averaged (`model.reading.neighbourhood`), are made once, before the training. The
student s is one pass at the encoder's own size, its levels joined, and a linear head that starts as
the ridge regression to t. With x the normalised images of a batch, x' and t' their permutation:

    s(x) = unit(A joined(x) + b)
    x~   = l x + (1 - l) x',   t~ = unit(l t + (1 - l) t'),   l ~ Beta(a, a), one for the batch
    L    = mean_b (1 - s(x~_b) . t~_b)

Regression to the teacher's vectors is the best of the losses in arXiv:2006.16331. A teacher that
sees more pixels is that of arXiv:2210.05463, and mixup (arXiv:1710.09412) that of function matching
(arXiv:2106.05237). What differs from the last two: the target is that of the whole image, made
once, whatever the view shows, because a teacher that reads every view costs more than the student.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from fgembed.backbones import Backbone
from fgembed.config import Settings, ViewSettings
from fgembed.data.views import Positioned, ViewMaker, WholeView
from fgembed.images.preprocessing import Preprocessing
from fgembed.methods.base import Method
from fgembed.methods.components.target_settings import TeacherSettings
from fgembed.model.encoder import Encoder, best_pooling
from fgembed.model.module_state import evaluation_mode
from fgembed.model.reading.whitening import Whitening

Size = Annotated[float, Field(ge=1, le=4, allow_inf_nan=False)]


class Distill(Method):
    """Learns given unit vectors of the training images.

    Example:
        >>> from fgembed.backbones import make_backbone
        >>> from fgembed.model.pooling import MeanPooling
        >>> backbone = make_backbone("torchvision/resnet18:layer1", size=32)
        >>> method = Distill(Encoder(backbone, MeanPooling()), Distill.Config())
        >>> method.take_targets(F.normalize(torch.rand(9, 16), dim=1))
        >>> method([torch.rand(2, 3, 32, 32), torch.tensor([8, 3])])["teacher"].shape
        torch.Size([])
    """

    class Config(Settings):
        """The teacher's sizes and neighbours, the mixup, and the width of the head."""

        sizes: tuple[Size, ...] = Field(
            (1.0, 1.4, 1.8),
            max_length=8,
            description="at which the start teaches, x preprocessing.size, if the photographs have "
            "the pixels; cosines are averaged, its own size as much as all larger ones",
        )
        teachers: tuple[TeacherSettings, ...] = Field(
            (), max_length=8, description="other networks, beside the start or (sizes = []) alone"
        )
        neighbours: int = Field(
            0, ge=0, le=100, description="mutual ones averaged into a target, at most; 0 for none"
        )
        grey: Literal["auto", "yes", "no"] = Field(
            "auto", description="the start teaches grey photographs too; auto: if things.colour=no"
        )
        mixup: float = Field(
            0.4, ge=0, allow_inf_nan=False, description="a of Beta(a, a); 0 for no mixup"
        )
        dimensions: int = Field(512, ge=2, description="of what is learned, at most")

        @model_validator(mode="after")
        def _check_teachers(self) -> Self:
            if not self.sizes and not self.teachers:
                raise ValueError("neither sizes nor teachers are set; set one of them")
            return self

    takes_targets = True
    config: Config

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder, config)
        self.target_sizes = config.sizes
        self.target_neighbours = config.neighbours
        self.target_teachers = config.teachers
        self.target_grey = config.grey
        # Its width does not depend on the images, so that a checkpoint fits any new instance.
        self.head = nn.Linear(encoder.dimensions, config.dimensions)

    @classmethod
    def pooling_for(cls, backbone: Backbone) -> str:
        """That of the start, whose vectors are learned."""
        return best_pooling(backbone).kind

    @classmethod
    def view_maker(cls, settings: ViewSettings, spec: Preprocessing) -> ViewMaker:
        """One view of the whole image; the loader adds the image's position."""
        return Positioned(WholeView(settings, spec))

    @torch.no_grad()
    def take_targets(
        self, targets: Tensor, layer: Whitening | None = None, centre: Tensor | None = None
    ) -> None:
        """Takes the teacher's vectors, their first `dimensions`, and what predicts them so far."""
        width = min(targets.shape[1], self.head.out_features)
        weight = self.head.weight
        self.targets = F.normalize(targets[:, :width], dim=1).to(weight.device, weight.dtype)
        if layer is not None:
            weight[:width] = layer.projection[:, :width].T
            self.head.bias[:width] = -layer.mean @ layer.projection[:, :width]
        if centre is not None and self.encoder.levels is not None:
            self.encoder.levels.centre.copy_(centre)

    def forward(self, views: Sequence[Tensor]) -> dict[str, Tensor]:
        """One minus the cosine of student and teacher.

        Args:
            views: images (B, 3, H, W) and their positions (B).
        """
        images, targets = views[0], self.targets_at(views[1])
        if self.config.mixup:
            images, targets = mixed(images, targets, self.config.mixup)
        return {"teacher": (1 - (self.student(images) * targets).sum(dim=1)).mean()}

    def student(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, D), unit length, in one pass without the mirror image."""
        encoder = self.encoder
        output = encoder.backbone.read_levels(images, encoder.reading.depths)
        pooled = encoder.pool(output).float()
        with torch.autocast(pooled.device.type, enabled=False):
            # As `Encoder.finish`, with the head in place of its last layer.
            vectors = self.head(encoder.finish(pooled))
            return F.normalize(vectors[:, : self._targets().shape[1]], dim=1)

    def targets_at(self, positions: Tensor) -> Tensor:
        """(B) or (B, 1) positions in the training set -> (B, D)."""
        return self._targets()[positions.flatten()]

    def diagnose(self, views: Sequence[Tensor]) -> dict[str, float]:
        """The mean cosine of student and teacher, as the encoder is used: not mixed."""
        with evaluation_mode(self), torch.no_grad():
            cosines = (self.student(views[0]) * self.targets_at(views[1])).sum(dim=1)
        return {"teacher cosine": float(cosines.mean())}

    def _targets(self) -> Tensor:
        if self.targets is None:
            raise RuntimeError("distill has no targets: take_targets comes first")  # invariant
        return self.targets


def mixed(images: Tensor, targets: Tensor, concentration: float) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) and targets (B, D), each with another of the batch, by one share.

    Args:
        images: normalised.
        targets: of unit length.
        concentration: a of Beta(a, a), from which the share is drawn.
    """
    distribution = torch.distributions.Beta(concentration, concentration)
    share = float(distribution.sample())
    other = torch.randperm(len(images)).to(images.device)
    both = share * targets + (1 - share) * targets[other]
    return share * images + (1 - share) * images[other], F.normalize(both, dim=1)
