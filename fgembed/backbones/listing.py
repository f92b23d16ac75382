"""What backbones there are, and what each gives; no weights are loaded and no memory is filled."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from fgembed.backbones import FAMILIES, family_of, make_backbone
from fgembed.backbones.family import IMAGENET, Family, Normalisation
from fgembed.errors import FgembedError, MissingExtraError

WILD = set("*?[")


@dataclass(frozen=True)
class Library:
    """One library of backbones; `count` is None where it is not installed."""

    name: str
    count: int | None


@dataclass(frozen=True)
class Listed:
    """One backbone, for pictures of one size.

    Attributes:
        name: `<library>/<name>`.
        parameters: how many numbers are trained.
        channels: C of its map.
        map: (h, w) of its map.
        stride: pixels of the picture a step of the map.
        attention: whether it is a transformer whose class token's attention can be read.
        normalisation: what its published weights expect of the pictures.
        reason: why it cannot be used; the rest is then None.
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
        """Name, millions of parameters, C, map, stride, attention, and what remains to say."""
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


def libraries() -> list[Library]:
    """Every library that fgembed knows, with the number of its backbones."""
    installed = _installed(list(FAMILIES))
    return [
        Library(name, len(installed[name].names()) if name in installed else None)
        for name in FAMILIES
    ]


def matching(pattern: str) -> list[str]:
    """The names `<library>/<name>` that a pattern names, or that contain it, in either case.

    Where it fits none of them, names with the tag of their weights are tried; then, given whole,
    a name stands for itself (`torchvision/resnet18:layer3`).

    Args:
        pattern: with `*`, `?` or `[` a whole name, with or without its library; else a part of
            one.
    """
    wanted = pattern.lower()
    library, slash, _ = pattern.partition("/")
    whole = bool(slash) and library in FAMILIES
    families = _installed([library] if whole else list(FAMILIES))
    plain = {library: family.names() for library, family in families.items()}
    tagged = {library: family.tagged_names() for library, family in families.items()}
    itself = [pattern] if whole and not set(pattern) & WILD else []
    return _matching(plain, wanted) or _matching(tagged, wanted) or itself


def measured(name: str, size: int) -> Listed:
    """What a backbone gives for pictures of `size` px, found on torch's device without memory."""
    try:
        with torch.device("meta"):
            backbone = make_backbone(name, size=size)
        family, model = family_of(name)
        height, width = backbone.grid
        return Listed(
            name,
            parameters=sum(parameter.numel() for parameter in backbone.parameters()),
            channels=backbone.channels,
            map=(height, width),
            stride=round(size / height),
            attention=backbone.has_attention,
            normalisation=family.normalisation(model),
        )
    except FgembedError as error:
        return Listed(name, reason=str(error))
    except NotImplementedError as error:  # reads a value, which that device has not
        return Listed(name, reason=f"not measured: {error}".partition("\n")[0])


def _text(normalisation: Normalisation | None) -> str:
    if normalisation in (None, IMAGENET):
        return "" if normalisation is None else "ImageNet"
    mean, std = (" ".join(f"{value:.3g}" for value in part) for part in normalisation)
    return f"mean {mean}, std {std}"


def _installed(libraries: Sequence[str]) -> dict[str, Family]:
    """The libraries that can be imported."""
    families = {}
    for library in libraries:
        with suppress(MissingExtraError):
            families[library] = family_of(f"{library}/*")[0]
    return families


def _matching(names: Mapping[str, Sequence[str]], wanted: str) -> list[str]:
    """The full names of those that match, library by library, in their order."""
    full = [(f"{library}/{name}", name.lower()) for library in names for name in names[library]]
    if set(wanted) & WILD:
        return [n for n, own in full if fnmatchcase(n.lower(), wanted) or fnmatchcase(own, wanted)]
    return [name for name, _ in full if wanted in name.lower()]
