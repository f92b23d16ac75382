"""torchvision's classification networks without their pooling and classifier."""

from collections import OrderedDict
from urllib.error import URLError

from torch import nn
from torchvision import models

from fgembed.config import nearest
from fgembed.errors import ConfigError, NotFoundError

# The children that make up the trunk, in order, for each of torchvision's classes whose
# feature map is a plain chain of them. The names are kept, so published files load.
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


def torchvision_trunk(name: str, pretrained: bool) -> nn.Sequential:
    """The trunk of a torchvision classification model, at random or with ImageNet-1k V1 weights.

    Args:
        name: `resnet18`, or `resnet18:layer3` for a trunk that ends there and so gives a finer
            map; for models with one `features` chain `mobilenet_v2:features.13`.
        pretrained: download the weights.

    Raises:
        ConfigError: no such model or layer, or its class has no plain feature map.
        NotFoundError: the weights cannot be downloaded.
    """
    name, _, end = name.partition(":")
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(f"no backbone torchvision/{name}{nearest(name, known)}")
    model = models.get_model(name, weights=None)
    children = TRUNKS.get(type(model).__name__)
    if children is None:
        raise ConfigError(
            f"torchvision/{name} gives no feature map that fgembed can read; "
            f"supported are {', '.join(TRUNKS)}"
        )
    if pretrained:
        model.load_state_dict(_download(name))
    trunk = nn.Sequential(OrderedDict((child, getattr(model, child)) for child in children))
    return _until(trunk, end) if end else trunk


def _until(trunk: nn.Sequential, end: str) -> nn.Sequential:
    """The trunk up to and with the named layer; the names stay, so published files load."""
    first, _, rest = end.partition(".")
    children = OrderedDict(trunk.named_children())
    if first not in children:
        raise ConfigError(f"no layer {first!r} to end the backbone at{nearest(first, children)}")
    kept = OrderedDict(list(children.items())[: list(children).index(first) + 1])
    if rest:
        inner = kept[first]
        if not isinstance(inner, nn.Sequential):
            raise ConfigError(f"layer {first!r} has no {rest!r} to end the backbone at")
        kept[first] = _until(inner, rest)
    return nn.Sequential(kept)


def _download(name: str) -> dict[str, object]:
    weights = next(iter(models.get_model_weights(name)))
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise NotFoundError(
            f"cannot download the weights of torchvision/{name} ({reason}); fetch {weights.url} "
            "elsewhere and give it with --weights FILE, or start from --weights random"
        ) from None
