"""What a library of backbones offers; one subclass a library."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from fgembed.errors import ConfigError


class Normalisation(NamedTuple):
    """What weights expect of their pictures, for channels in [0, 1]: (x - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Family:
    """The backbones of one library, by the part of their name after `<library>/`.

    Attributes:
        weights: the words for the library's own published weights.
    """

    weights: tuple[str, ...] = ("pretrained", "imagenet")

    def names(self) -> list[str]:
        """Every name that the library lists."""
        raise NotImplementedError

    def tagged_names(self) -> list[str]:
        """Every name that also says which of several published weights is meant."""
        return []

    def trunk(self, name: str, size: int) -> nn.Module:
        """A trunk with random weights for pictures of `size` px.

        Raises:
            ConfigError: the name is unknown, gives no feature map, or does not go with the size.
        """
        raise NotImplementedError

    def published(self, name: str) -> dict[str, Tensor]:
        """The library's own weights, downloaded once.

        Raises:
            ConfigError: there are none.
            NotFoundError: they cannot be downloaded.
        """
        raise NotImplementedError

    def fit(self, trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A file's weights by the trunk's names, position embeddings on the trunk's grid."""
        raise NotImplementedError

    def normalisation(self, name: str) -> Normalisation:
        """What the published weights expect."""
        raise NotImplementedError


def unfit(name: str, size: int, reason: Exception) -> ConfigError:
    """The refusal of a name that a library cannot build for pictures of `size` px."""
    text = " ".join(str(reason).split()).rstrip(".") or f"a check of the library's ({reason!r})"
    return ConfigError(
        f"{name} cannot be built for pictures of {size} px: {text}; "
        "set preprocessing.size to the size that it was made for"
    )
