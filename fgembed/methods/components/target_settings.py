"""Which networks a student learns from beside its start."""

from typing import Self

from pydantic import Field, model_validator

from fgembed.config import PathText, Settings
from fgembed.images.preprocessing import LARGEST_SIDE


class TeacherSettings(Settings):
    """One of `backbone`, `bundle` and `onnx`, and how it reads an image.

    Example:
        >>> TeacherSettings(backbone="timm/vit_small_patch14_dinov2.lvd142m", size=224).weights
        'pretrained'
    """

    backbone: str | None = Field(None, description="<library>/<name>, read as the start is")
    weights: PathText = Field(
        "pretrained", description="of `backbone`: `pretrained`, `imagenet`, or a file"
    )
    bundle: PathText | None = Field(None, description="folder that `fgembed export` wrote")
    onnx: PathText | None = Field(
        None,
        description="file of a network: normalised RGB (B, 3, size, size) in, as its first output "
        "(B, D) or a map (B, D, h, w)",
    )
    size: int | None = Field(
        None,
        ge=16,
        le=LARGEST_SIDE,
        description="of its images in pixels; by default a bundle's own, else preprocessing.size",
    )
    mean: tuple[float, float, float] | None = Field(
        None, description="of RGB in [0, 1]; by default of published weights, else preprocessing's"
    )
    std: tuple[float, float, float] | None = Field(None, description="as `mean`")

    @model_validator(mode="after")
    def _check(self) -> Self:
        kinds = [self.backbone, self.bundle, self.onnx]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError(
                "a teacher is one of `backbone`, `bundle` and `onnx`; set exactly one of them"
            )
        if (self.mean is None) != (self.std is None):
            raise ValueError("a teacher's `mean` and `std` belong together; set both or neither")
        if self.bundle is not None and (self.size is not None or self.mean is not None):
            raise ValueError("a bundle has its own preprocessing; leave out size, mean and std")
        return self

    @property
    def name(self) -> str:
        """For messages."""
        return self.backbone or self.bundle or self.onnx or ""
