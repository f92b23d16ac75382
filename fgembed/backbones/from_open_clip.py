"""open_clip's visual towers. The text tower is built for teachers only."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from fgembed.backbones.download import BACKBONE_REMEDY, from_hub, from_url
from fgembed.backbones.family import Family, Normalisation, build_error, no_feature_map
from fgembed.backbones.tokens import check_patches
from fgembed.errors import ConfigError, MissingExtraError
from fgembed.text import nearest

try:
    import open_clip
    from open_clip.model import _build_vision_tower, resize_pos_embed
except ImportError:
    raise MissingExtraError("a backbone of open_clip", "open_clip_torch", "train") from None

from fgembed.backbones.from_timm import fit_timm, timm_trunk
from fgembed.backbones.open_clip_trunk import OpenClipMap, OpenClipTokens

TOWER = "visual."  # prefix of the visual tower in a checkpoint of both towers
TIMM_TOWER = "trunk."  # prefix of a timm model inside a tower
POSITIONS = "visual.positional_embedding"
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClip(Family):
    """Names: `ViT-B-32`, or with the tag of its weights `ViT-B-32:laion2b_s34b_b79k`.

    The tag selects GELU or QuickGELU (OpenAI's weights), so give it also when the weights come
    from a file.
    """

    weights = ("pretrained",)

    def names(self) -> list[str]:
        """All models, without tags."""
        return list(open_clip.list_models())

    def tagged_names(self) -> list[str]:
        """All models with a tag, such as `ViT-B-32:openai`."""
        return [f"{model}:{tag}" for model, tag in open_clip.list_pretrained()]

    def trunk(self, name: str, size: int) -> nn.Module:
        """See `Family.trunk`."""
        tower = model_settings(name)
        full_name = f"open_clip/{name}"
        vision = tower["vision_cfg"]
        if vision.get("timm_model_name"):
            pool = {"": None, "abs_attn": None, "rot_attn": None}.get(
                vision.get("timm_pool", "avg"), vision.get("timm_pool", "avg")
            )
            return timm_trunk(vision["timm_model_name"], size, full_name, global_pool=pool)
        if vision.get("attentional_pool") or vision.get("pool_type") == "none":
            raise no_feature_map(full_name, "in the width that it pools")
        is_transformer = isinstance(vision["layers"], int)
        if is_transformer:
            check_patches(full_name, size, vision["patch_size"])
        vision |= {"image_size": size, "patch_dropout": 0.0}
        try:
            visual = _build_vision_tower(tower["embed_dim"], vision, tower["quick_gelu"])
        except (AssertionError, ValueError, RuntimeError) as error:
            raise build_error(full_name, size, error) from None
        return OpenClipTokens(visual) if is_transformer else OpenClipMap(visual)

    def published(self, name: str) -> dict[str, Tensor]:
        """The weights of the name's tag, including the text tower's."""
        return published_checkpoint(name, BACKBONE_REMEDY)

    def fit(self, trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family.fit`; takes a checkpoint of both towers or of the visual tower alone."""
        has_both_towers = any(key.startswith(TOWER) for key in state)
        tower = {
            key.removeprefix(TOWER): value
            for key, value in state.items()
            if key.startswith(TOWER) or not has_both_towers
        }
        if not isinstance(trunk, OpenClipMap | OpenClipTokens):
            return fit_timm(trunk, {k.removeprefix(TIMM_TOWER): v for k, v in tower.items()})
        fitting = {TOWER + key: value for key, value in tower.items()}
        if isinstance(trunk, OpenClipTokens) and POSITIONS in fitting:
            resize_pos_embed(fitting, SimpleNamespace(visual=trunk.visual))
        return fitting

    def normalisation(self, name: str) -> Normalisation:
        """Of the tag's weights; without a tag OpenAI's, which most models are trained with."""
        model, tag = split_tag(name)
        source = open_clip.get_pretrained_cfg(model, tag) if tag else {}
        mean = source.get("mean") or open_clip.OPENAI_DATASET_MEAN
        std = source.get("std") or open_clip.OPENAI_DATASET_STD
        return Normalisation(tuple(mean), tuple(std))


FAMILY = OpenClip()


def published_checkpoint(name: str, remedy: str) -> dict[str, Tensor]:
    """The published weights of both towers of `model:tag`.

    Args:
        name: the model and the tag of its weights.
        remedy: what to do with a file that was downloaded on another machine, for the error.

    Raises:
        ConfigError: the name has no tag, or one without published weights.
        NotFoundError: they cannot be downloaded.
    """
    model, tag = split_tag(name)
    source = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    if source.get("hf_hub"):
        repository, _, file = source["hf_hub"].rpartition("/")
        files = (file,) if file else HUB_FILES
        return from_hub(repository, files, f"open_clip/{name}", remedy)
    if source.get("url"):
        return from_url(source["url"], f"open_clip/{name}", remedy)
    raise ConfigError(f"open_clip/{name} names no published weights", _tags_remedy(model, remedy))


def untrained_model(name: str) -> nn.Module:
    """Both towers of `model` or `model:tag`, with random weights.

    Raises:
        ConfigError: the model or tag is unknown, or the text tower cannot be built.
    """
    settings = model_settings(name)
    logging.disable(logging.WARNING)  # open_clip warns that no weights are loaded
    try:
        model: nn.Module = open_clip.create_model(
            split_tag(name)[0], pretrained=None, force_quick_gelu=settings["quick_gelu"]
        )
    except Exception as error:  # a text tower may need transformers, or a network
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"teacher {name} cannot be built ({reason})",
            "choose one with CLIP's own text tower, such as ViT-B-32:openai",
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    return model


def split_tag(name: str) -> tuple[str, str]:
    """`model:tag` -> model, tag, which may be empty."""
    model, _, tag = name.partition(":")
    return model, tag


def model_settings(name: str) -> dict[str, Any]:
    """open_clip's settings of `model` or `model:tag`, with `quick_gelu` as the tag needs it.

    Raises:
        ConfigError: the model or the tag is unknown.
    """
    model, tag = split_tag(name)
    models = open_clip.list_models()
    if model not in models:
        raise ConfigError(f"no open_clip/{model}", nearest(model, models))
    settings = deepcopy(open_clip.get_model_config(model))
    quick = settings.get("quick_gelu", False)
    if tag:
        source = open_clip.get_pretrained_cfg(model, tag)
        if not source:
            raise ConfigError(f"open_clip/{model} has no weights {tag!r}", _tags_remedy(model))
        quick = source.get("quick_gelu", quick)
    return {**settings, "quick_gelu": quick}


def _tags_remedy(model: str, remedy: str = "name the model without a tag") -> str:
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not tags:
        return f"none are published, so {remedy}"
    return f"give one of {', '.join(f'{model}:{tag}' for tag in tags)}"
