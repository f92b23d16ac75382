"""The network that a run starts from, and the preprocessing that its weights were trained with."""

from dataclasses import replace

from fgembed.backbones import Backbone, make_backbone
from fgembed.backbones.family import Family
from fgembed.backbones.libraries import family_of
from fgembed.config import RunConfig
from fgembed.images.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


def start_backbone(config: RunConfig) -> Backbone:
    """The backbone of a run with its first weights."""
    settings = config.backbone
    size = config.preprocessing.size
    return make_backbone(
        settings.name, settings.weights, settings.freeze_statistics, size, frozen=settings.frozen
    )


def with_normalisation(spec: Preprocessing, backbone: str, weights: str) -> Preprocessing:
    """With published weights, the mean and deviation that they were trained with.

    They replace only the default, ImageNet's.

    Args:
        spec: the preprocessing as it is set.
        backbone: `<library>/<name>`.
        weights: as in `backbone.weights`.
    """
    is_default = (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD)
    if not is_default or weights not in Family.weights:
        return spec
    family, model = family_of(backbone)
    published = family.normalisation(model)
    return replace(spec, mean=published.mean, std=published.std)
