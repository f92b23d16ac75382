"""The interface to a library of backbones; one subclass per library."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from fgembed.errors import ConfigError


class Normalisation(NamedTuple):
    """(x - mean) / std, for channels in [0, 1]: the input that weights were trained on."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Family:
    """The backbones of one library, by the part of their name after `<library>/`.

    Attributes:
        weights: the values of `backbone.weights` that mean the library's published weights.
    """

    weights: tuple[str, ...] = ("pretrained", "imagenet")

    def names(self) -> list[str]:
        """All model names of the library."""
        raise NotImplementedError

    def tagged_names(self) -> list[str]:
        """All model names with the tag of one of several published weights."""
        return []

    def trunk(self, name: str, size: int) -> nn.Module:
        """A trunk with random weights for images of `size` px.

        Raises:
            ConfigError: the name is unknown, gives no feature map, or does not support the size.
        """
        raise NotImplementedError

    def published(self, name: str) -> dict[str, Tensor]:
        """The library's published weights, downloaded once.

        Raises:
            ConfigError: the library publishes none.
            NotFoundError: they cannot be downloaded.
        """
        raise NotImplementedError

    def fit(self, trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's weights under the trunk's names, position embeddings resized to its grid."""
        raise NotImplementedError

    def normalisation(self, name: str) -> Normalisation:
        """The input normalisation of the published weights."""
        raise NotImplementedError


def build_error(name: str, size: int, reason: Exception) -> ConfigError:
    """The error for a model that its library cannot build for images of `size` px."""
    text = " ".join(str(reason).split()).rstrip(".") or f"a check of the library's ({reason!r})"
    return ConfigError(
        f"{name} cannot be built for images of {size} px: {text}",
        "set preprocessing.size to the size that the model was designed for",
    )


def no_feature_map(name: str, kind: str = "that fgembed can read") -> ConfigError:
    """The error for a model whose output is not a map (B, C, h, w)."""
    return ConfigError(
        f"{name} gives no feature map {kind}",
        'choose another backbone (see "fgembed backbones")',
    )
