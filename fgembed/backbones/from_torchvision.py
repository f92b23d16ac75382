"""torchvision's classification networks without their pooling and classifier."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torchvision import models

from fgembed.backbones.download import from_url
from fgembed.backbones.family import IMAGENET, Family, Normalisation, build_error
from fgembed.backbones.tokens import check_patches
from fgembed.backbones.torchvision_vit import TorchvisionTokens
from fgembed.errors import ConfigError
from fgembed.text import nearest

# Class of torchvision -> the children that form its trunk, in order, if the feature map is a plain
# chain of them. Their names stay, so published files load.
TRUNKS: dict[str, tuple[str, ...]] = {
    "ConvNeXt": ("features",),
    "EfficientNet": ("features",),
    "MNASNet": ("layers",),
    "MobileNetV2": ("features",),
    "MobileNetV3": ("features",),
    "RegNet": ("stem", "trunk_output"),
    "ResNet": ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    "ShuffleNetV2": ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"),
    "SqueezeNet": ("features",),
    "VGG": ("features",),
}


class Torchvision(Family):
    """Names: `resnet18`, or `resnet18:layer3` for a trunk that ends there, with a finer map.

    In models with a single `features` chain: `mobilenet_v2:features.13`.
    """

    def names(self) -> list[str]:
        """All classification models."""
        return list(models.list_models(module=models))

    def trunk(self, name: str, size: int) -> nn.Module:
        """See `Family.trunk`; a transformer is built for the grid of `size`."""
        name, _, end = name.partition(":")
        names = self.names()
        if name not in names:
            raise ConfigError(f"no backbone torchvision/{name}", nearest(name, names))
        if name.startswith("vit_"):
            return _transformer(name, end, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about later initialisations
            model = models.get_model(name, weights=None)
        children = TRUNKS.get(type(model).__name__)
        if children is None:
            raise ConfigError(
                f"torchvision/{name} gives no feature map that fgembed can read",
                f"choose a model of one of {', '.join(TRUNKS)} or VisionTransformer",
            )
        trunk = nn.Sequential(OrderedDict((child, getattr(model, child)) for child in children))
        return _until(trunk, end) if end else trunk

    def published(self, name: str) -> dict[str, Tensor]:
        """ImageNet-1k weights, the first version if there are several."""
        name = name.partition(":")[0]
        weights = next(iter(models.get_model_weights(name)))
        return from_url(weights.url, f"torchvision/{name}")

    def fit(self, trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family.fit`."""
        return trunk.fit(dict(state)) if isinstance(trunk, TorchvisionTokens) else dict(state)

    def normalisation(self, name: str) -> Normalisation:
        """ImageNet's, for all models."""
        return IMAGENET


FAMILY = Torchvision()


def _transformer(name: str, end: str, size: int) -> TorchvisionTokens:
    if end:
        raise ConfigError(
            f"torchvision/{name} cannot end at a layer, got {end!r}", f"name it without ':{end}'"
        )
    patch = int(name.rpartition("_")[2])
    check_patches(f"torchvision/{name}", size, patch)
    try:
        return TorchvisionTokens(models.get_model(name, weights=None, image_size=size))
    except AssertionError as error:
        raise build_error(f"torchvision/{name}", size, error) from None


def _until(trunk: nn.Sequential, end: str) -> nn.Sequential:
    """The trunk up to and including the named layer, under the same names."""
    first, _, rest = end.partition(".")
    children = OrderedDict(trunk.named_children())
    if first not in children:
        raise ConfigError(f"no layer {first!r} to end the backbone at", nearest(first, children))
    layers = OrderedDict(list(children.items())[: list(children).index(first) + 1])
    if rest:
        inner = layers[first]
        if not isinstance(inner, nn.Sequential):
            raise ConfigError(
                f"layer {first!r} has no {rest!r} to end the backbone at",
                f"end the backbone's name at ':{first}'",
            )
        layers[first] = _until(inner, rest)
    return nn.Sequential(layers)
