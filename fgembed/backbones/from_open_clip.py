"""open_clip's visual towers; the text towers are never built."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from fgembed.backbones.download import BACKBONE_REMEDY, from_hub, from_url
from fgembed.backbones.family import Family, Normalisation, unfit
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

TOWER = "visual."  # of the names in a checkpoint that also holds a text tower
TIMM_TOWER = "trunk."  # of timm's models inside a tower
POSITIONS = "visual.positional_embedding"
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClip(Family):
    """`ViT-B-32`, or with the tag of its weights `ViT-B-32:laion2b_s34b_b79k`.

    The tag also decides between GELU and the QuickGELU that OpenAI's weights were trained with,
    so it belongs to the name when the weights come from a file.
    """

    weights = ("pretrained",)

    def names(self) -> list[str]:
        """Every model, without tags."""
        return list(open_clip.list_models())

    def tagged_names(self) -> list[str]:
        """`ViT-B-32:openai` and so on."""
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
            raise ConfigError(f"{full_name} gives no feature map in the width that it pools")
        is_transformer = isinstance(vision["layers"], int)
        if is_transformer:
            check_patches(full_name, size, vision["patch_size"])
        vision |= {"image_size": size, "patch_dropout": 0.0}
        try:
            visual = _build_vision_tower(tower["embed_dim"], vision, tower["quick_gelu"])
        except (AssertionError, ValueError, RuntimeError) as error:
            raise unfit(full_name, size, error) from None
        return OpenClipTokens(visual) if is_transformer else OpenClipMap(visual)

    def published(self, name: str) -> dict[str, Tensor]:
        """The weights of the name's tag, those of the text tower among them."""
        return published_checkpoint(name, BACKBONE_REMEDY)

    def fit(self, trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Family.fit`; takes a whole model's checkpoint, or the tower's part alone."""
        whole = any(key.startswith(TOWER) for key in state)
        tower = {
            key.removeprefix(TOWER): value
            for key, value in state.items()
            if key.startswith(TOWER) or not whole
        }
        if not isinstance(trunk, OpenClipMap | OpenClipTokens):
            return fit_timm(trunk, {k.removeprefix(TIMM_TOWER): v for k, v in tower.items()})
        fitting = {TOWER + key: value for key, value in tower.items()}
        if isinstance(trunk, OpenClipTokens) and POSITIONS in fitting:
            resize_pos_embed(fitting, SimpleNamespace(visual=trunk.visual))
        return fitting

    def normalisation(self, name: str) -> Normalisation:
        """Of the weights of the name's tag; without a tag OpenAI's, as in most trainings."""
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
        remedy: what to do with a file that was fetched by other means, for the error.

    Raises:
        ConfigError: the name has no tag, or no published one.
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
    raise ConfigError(f"open_clip/{name} names no published weights", f"{_tags(model, remedy)}")


def untrained_model(name: str) -> nn.Module:
    """Both towers of `model` or `model:tag`, at random.

    Raises:
        ConfigError: no such model or tag, or its text tower cannot be built.
    """
    settings = model_settings(name)
    logging.disable(logging.WARNING)  # open_clip warns that there are no weights yet
    try:
        model: nn.Module = open_clip.create_model(
            split_tag(name)[0], pretrained=None, force_quick_gelu=settings["quick_gelu"]
        )
    except Exception as error:  # text towers of transformers, which may be missing or offline
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
    """open_clip's settings of `model` or `model:tag`, with the tag's choice of QuickGELU.

    Raises:
        ConfigError: no such model, or no such tag.
    """
    model, tag = split_tag(name)
    known = open_clip.list_models()
    if model not in known:
        raise ConfigError(f"no open_clip/{model}", nearest(model, known))
    settings = deepcopy(open_clip.get_model_config(model))
    quick = settings.get("quick_gelu", False)
    if tag:
        source = open_clip.get_pretrained_cfg(model, tag)
        if not source:
            raise ConfigError(f"open_clip/{model} has no weights {tag!r}", f"{_tags(model)}")
        quick = source.get("quick_gelu", quick)
    return {**settings, "quick_gelu": quick}


def _tags(model: str, remedy: str = "name the model without one") -> str:
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not tags:
        return f"none are published; {remedy}"
    return f"expected one of {', '.join(f'{model}:{tag}' for tag in tags)}"
