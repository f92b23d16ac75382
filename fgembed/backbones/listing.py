"""The available backbones and their properties, without loading weights or allocating memory."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from fgembed.backbones import make_backbone
from fgembed.backbones.family import IMAGENET, Family, Normalisation
from fgembed.backbones.libraries import FAMILIES, family_of
from fgembed.errors import FgembedError, MissingExtraError

WILD = set("*?[")


@dataclass(frozen=True)
class Library:
    """One library of backbones; `count` is None if it is not installed."""

    name: str
    count: int | None


@dataclass(frozen=True)
class BackboneInfo:
    """The properties of one backbone for images of one size.

    Attributes:
        name: `<library>/<name>`.
        parameters: number of trainable values.
        channels: C of its map.
        map: (h, w) of its map.
        stride: pixels of the image per step of the map.
        attention: whether it is a transformer whose class token's attention can be captured.
        normalisation: of the input of its published weights.
        reason: why it cannot be used; the other fields are then None.
    """

    name: str
    parameters: int | None = None
    channels: int | None = None
    map: tuple[int, int] | None = None
    stride: int | None = None
    attention: bool | None = None
    normalisation: Normalisation | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The backbone as a JSON object, with `mean` and `std` as preprocessing takes them."""
        table = asdict(self)
        del table["normalisation"]
        mean, std = self.normalisation or (None, None)
        return table | {"mean": mean, "std": std}

    def cells(self) -> list[str]:
        """Name, millions of parameters, C, map, stride, attention, and normalisation or reason."""
        if self.reason or self.map is None or self.parameters is None:
            return [self.name, "", "", "", "", "", self.reason or ""]
        return [
            self.name,
            f"{self.parameters / 1e6:.1f}",
            str(self.channels),
            f"{self.map[0]} x {self.map[1]}",
            str(self.stride),
            "yes" if self.attention else "no",
            _text(self.normalisation),
        ]


def list_libraries() -> list[Library]:
    """All supported libraries, with the number of their backbones."""
    installed = _installed(list(FAMILIES))
    return [
        Library(name, len(installed[name].names()) if name in installed else None)
        for name in FAMILIES
    ]


def find_backbones(pattern: str) -> list[str]:
    """The names `<library>/<name>` that match a pattern, ignoring case.

    Names with the tag of their weights are searched only if no plain name matches. If none does
    either, a full name is returned as it is (`torchvision/resnet18:layer3`).

    Args:
        pattern: with `*`, `?` or `[` a glob over full names, with or without their library; else
            a part of the name.

    Example:
        >>> find_backbones("torchvision/resnet1*")
        ['torchvision/resnet101', 'torchvision/resnet152', 'torchvision/resnet18']
    """
    lower = pattern.lower()
    library, slash, _ = pattern.partition("/")
    is_full_name = bool(slash) and library in FAMILIES
    families = _installed([library] if is_full_name else list(FAMILIES))
    plain = {library: family.names() for library, family in families.items()}
    tagged = {library: family.tagged_names() for library, family in families.items()}
    fallback = [pattern] if is_full_name and not set(pattern) & WILD else []
    return _matching_names(plain, lower) or _matching_names(tagged, lower) or fallback


def measure_backbone(name: str, size: int) -> BackboneInfo:
    """A backbone's properties for images of `size` px, computed on torch's meta device."""
    try:
        with torch.device("meta"):
            backbone = make_backbone(name, size=size)
        family, model = family_of(name)
        height, width = backbone.grid
        return BackboneInfo(
            name,
            parameters=sum(parameter.numel() for parameter in backbone.parameters()),
            channels=backbone.channels,
            map=(height, width),
            stride=round(size / height),
            attention=backbone.has_attention,
            normalisation=family.normalisation(model),
        )
    except FgembedError as error:
        return BackboneInfo(name, reason=str(error))
    except NotImplementedError as error:  # the model reads a value; the meta device has none
        return BackboneInfo(name, reason=f"not measured: {error}".partition("\n")[0])


def _text(normalisation: Normalisation | None) -> str:
    if normalisation in (None, IMAGENET):
        return "" if normalisation is None else "ImageNet"
    mean, std = (" ".join(f"{value:.3g}" for value in part) for part in normalisation)
    return f"mean {mean}, std {std}"


def _installed(libraries: Sequence[str]) -> dict[str, Family]:
    """The families of those libraries that can be imported."""
    families = {}
    for library in libraries:
        with suppress(MissingExtraError):
            families[library] = family_of(f"{library}/*")[0]
    return families


def _matching_names(names: Mapping[str, Sequence[str]], pattern: str) -> list[str]:
    """Full names that match a lower-case pattern, in the order of the libraries."""
    pairs = [(f"{library}/{name}", name) for library in names for name in names[library]]
    if set(pattern) & WILD:
        return [
            full
            for full, name in pairs
            if fnmatchcase(full.lower(), pattern) or fnmatchcase(name.lower(), pattern)
        ]
    return [full for full, _ in pairs if pattern in full.lower()]
