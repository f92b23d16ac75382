"""timm's models without their pooling and classifier."""

import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fgembed.backbones.download import from_hub, from_url
from fgembed.backbones.family import IMAGENET, Family, Normalisation, build_error, no_feature_map
from fgembed.backbones.timm_trunk import TimmMap, TimmTokens, has_tokens
from fgembed.backbones.tokens import check_patches
from fgembed.errors import ConfigError, MissingExtraError
from fgembed.text import nearest

try:
    import timm
except ImportError:
    raise MissingExtraError("a backbone of timm", "timm", "train") from None

# Weight files on the hub, by the name that timm lists, in timm's order of preference.
HUB_FILES = {
    "": ("model.safetensors", "pytorch_model.bin"),
    "open_clip_pytorch_model.bin": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
}
PREFIX = "model."  # of the trunk's names; timm's follow


class Timm(Family):
    """Names: `resnet50`, or with the tag of its weights `vit_small_patch14_dinov2.lvd142m`."""

    def names(self) -> list[str]:
        """All models, without tags."""
        return list(timm.list_models())

    def tagged_names(self) -> list[str]:
        """All models with a tag, such as `vit_small_patch14_dinov2.lvd142m`."""
        return list(timm.list_models(pretrained=True))

    def trunk(self, name: str, size: int) -> nn.Module:
        """See `Family.trunk`."""
        if ":" in name:
            raise ConfigError(
                f"timm/{name} cannot end at a layer",
                f"name it without {name[name.index(':') :]!r}, or choose a torchvision backbone",
            )
        if not timm.is_model(name.partition(".")[0]):
            raise ConfigError(f"no backbone timm/{name}", nearest(name, timm.list_models()))
        _check_tag(name)
        return timm_trunk(name, size, f"timm/{name}")

    def published(self, name: str) -> dict[str, Tensor]:
        """The weights of the name's tag; without a tag those of the model's first."""
        source = timm.get_pretrained_cfg(name)
        if source is not None and source.hf_hub_id and str(source.custom_load) != "hf":
            file = source.hf_hub_filename or ""
            return from_hub(source.hf_hub_id, HUB_FILES.get(file, (file,)), f"timm/{name}")
        # Weights with a loader of their own are arrays of JAX.
        url = None if source is None or source.custom_load else source.url
        if isinstance(url, str) and url:
            return from_url(url, f"timm/{name}")
        raise ConfigError(
            f"timm publishes no weights of {name} that fgembed can read",
            "set backbone.weights to a file or to 'random'",
        )

    def fit(self, trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family.fit`; timm first converts files of older versions and other libraries."""
        return fit_timm(trunk, state)

    def normalisation(self, name: str) -> Normalisation:
        """Of the weights of the name's tag; without a tag those of the model's first."""
        source = timm.get_pretrained_cfg(name)
        if source is None:
            return IMAGENET
        return Normalisation(tuple(source.mean), tuple(source.std))  # type: ignore[arg-type]


FAMILY = Timm()


def timm_trunk(name: str, size: int, full_name: str, **settings: Any) -> TimmMap | TimmTokens:
    """The trunk of a timm model with random weights.

    Args:
        name: of timm.
        size: side of the images in pixels; it sets position embeddings and windows.
        full_name: for messages.
        settings: for timm's constructor of the model.

    Raises:
        ConfigError: the model has no map, or does not support the size.
    """
    model = _model(name, size, full_name, settings)
    if not hasattr(model, "forward_features"):
        raise no_feature_map(full_name)
    if not has_tokens(model):
        return TimmMap(model)
    check_patches(full_name, size, model.patch_embed.feat_ratio())  # type: ignore[union-attr, operator]
    return TimmTokens(model)


def fit_timm(trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's weights under the names of a `TimmMap` or `TimmTokens`."""
    model = trunk.model
    module = sys.modules[type(model).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    converted = dict(state)
    if convert is not None:
        try:
            converted = convert(converted, model)
        except TypeError:  # some take the state alone
            converted = convert(converted)
    return {PREFIX + key: value for key, value in converted.items()}


def _check_tag(name: str) -> None:
    model, _, tag = name.partition(".")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        tagged = timm.list_models(f"{model}.*", pretrained=True)
        raise ConfigError(f"timm/{model} has no weights {tag!r}", nearest(name, tagged)) from None


def _model(name: str, size: int, full_name: str, settings: dict[str, Any]) -> nn.Module:
    """The model, built for `size` if its constructor takes a size.

    A dynamic size is switched off: an exported graph would resample the position embeddings in
    every call.
    """
    sized: dict[str, Any] = {"img_size": size}
    for extra in (sized | {"dynamic_img_size": False}, sized, dict[str, Any]()):
        try:
            model: nn.Module = timm.create_model(name, num_classes=0, **settings, **extra)
            return model
        except TypeError as error:
            if not extra:
                raise
            if "unexpected keyword" not in str(error) and "multiple values" not in str(error):
                raise build_error(full_name, size, error) from None
        except (AssertionError, ValueError, RuntimeError, ZeroDivisionError) as error:
            raise build_error(full_name, size, error) from None
    raise AssertionError("the last attempt returns or raises")  # invariant
