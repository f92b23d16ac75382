"""Backbones by name, `<library>/<name>`: images in, one feature map out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fgembed.backbones.family import Family, build_error, no_feature_map
from fgembed.backbones.levels import (
    BackboneOutput,
    Level,
    as_map,
    at_depths,
    blocks_of,
    capture_outputs,
    freeze,
    levels_of,
)
from fgembed.backbones.libraries import family_of
from fgembed.backbones.tokens import AttentionOutput, TokenTrunk
from fgembed.backbones.weights import WEIGHTS_REMEDY, load_weights, read_weights
from fgembed.errors import ConfigError

SIGNED_SHARE = 0.1  # of a map's energy below zero; ReLU has none, SiLU and GELU a little


class Backbone(nn.Module):
    """A named network without its classifier: (B, 3, H, W) normalised images -> (B, C, h, w).

    Example:
        >>> backbone = make_backbone("torchvision/resnet18:layer1", size=64)
        >>> backbone(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 64, 16, 16])

    Attributes:
        name: `<library>/<name>`.
        channels: C.
        grid: (h, w) for images of the size that it is built for.
        signed: whether much of its map lies below zero, as after a layer norm. GeM clamps such
            values, so it suits unsigned maps only.
        freeze_statistics: whether batch-norm statistics stay fixed, in training mode too.
    """

    def __init__(
        self,
        name: str,
        trunk: nn.Module,
        freeze_statistics: bool = False,
        size: int = 224,
        frozen: float = 0,
    ) -> None:
        super().__init__()
        self.name = name
        self.trunk = trunk
        self.freeze_statistics = freeze_statistics
        features, self._levels = _probe(name, trunk, size)
        if frozen and not self._levels:
            raise ConfigError(f"{name} has no blocks to freeze", "set backbone.frozen=0")
        freeze(trunk, self._levels[: round(frozen * len(self._levels))])
        self.channels = features.shape[1]
        self.grid = tuple(features.shape[2:])
        self.signed = not features.is_meta and _is_signed(features)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        features: Tensor = self.trunk(images)
        return features

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> features (B, C, h, w) and summary (B, C).

        The summary is the vector that the network's own classifier takes: the class token, or
        the mean of the features where there is none.
        """
        if isinstance(self.trunk, TokenTrunk):
            return self.trunk.read(images)
        features = self(images)
        return features, features.mean(dim=(2, 3))

    def read_levels(self, images: Tensor, depths: Sequence[float]) -> BackboneOutput:
        """As `read`, with the maps of the inner levels at `depths` (see `inner_channels`)."""
        levels = at_depths(self._levels, depths)
        with capture_outputs([level.block for level in levels]) as outputs:
            features, summary = self.read(images)
        inner = tuple(as_map(self.trunk, output) for _, output in outputs)
        return BackboneOutput(features, summary, inner)

    def inner_channels(self, depths: Sequence[float]) -> list[int]:
        """C_l of the inner levels at `depths`, each a share in 0..1 of the way to the last map.

        Fewer than `depths` if the backbone has few blocks; empty if its blocks give no maps.
        """
        return [level.channels for level in at_depths(self._levels, depths)]

    @property
    def level_blocks(self) -> list[nn.Module]:
        """The modules whose outputs are the levels, from the first to the last."""
        return [level.block for level in self._levels]

    def attend(self, images: Tensor) -> AttentionOutput:
        """Features, summary and attention of a vision transformer, in one pass.

        Raises:
            ConfigError: the backbone has no attention.
        """
        return self.require_attention().attend(images)

    def attention(self, images: Tensor) -> Tensor:
        """(L, B, h, w): in each layer the class token's attention to the patches.

        Raises:
            ConfigError: the backbone has no attention.
        """
        return self.attend(images).attention

    def patch_projection(self) -> nn.Module | None:
        """The layer that turns patches into tokens; None in a convolutional network."""
        return self.trunk.patch_projection() if isinstance(self.trunk, TokenTrunk) else None

    @property
    def has_attention(self) -> bool:
        """Whether it is a vision transformer whose class token's attention can be read."""
        return isinstance(self.trunk, TokenTrunk) and self.trunk.has_attention

    @property
    def has_tokens(self) -> bool:
        """Whether it is a vision transformer, with or without a class token."""
        return isinstance(self.trunk, TokenTrunk)

    def require_attention(self) -> TokenTrunk:
        """The trunk of a vision transformer.

        Raises:
            ConfigError: the backbone has no attention.
        """
        if not isinstance(self.trunk, TokenTrunk) or not self.trunk.has_attention:
            raise ConfigError(
                f"{self.name} has no attention between a class token and patches",
                'choose a vision transformer (see "fgembed backbones vit")',
            )
        return self.trunk

    def train(self, mode: bool = True) -> "Backbone":
        """Sets the mode; batch norms with frozen statistics stay in evaluation mode."""
        super().train(mode)
        if self.freeze_statistics:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def make_backbone(
    name: str,
    weights: str = "random",
    freeze_statistics: bool = False,
    size: int = 224,
    frozen: float = 0,
) -> Backbone:
    """A backbone by name.

    Args:
        name: `<library>/<name>`, for example `torchvision/resnet50`.
        weights: `random`; `pretrained`, the library's own download (`imagenet` is a synonym for
            torchvision and timm); or a `.safetensors` or `.pt` file with the library's names.
        freeze_statistics: see `Backbone`.
        size: side of the images, in pixels, for a transformer's grid of patches.
        frozen: share of its blocks, from the first, that take no gradient.

    Raises:
        ConfigError: the name is unknown, or the weights or the size do not fit.
        NotFoundError: the weights cannot be downloaded, or the file does not exist.
        MissingExtraError: the library is not installed.
    """
    family, model = family_of(name)
    trunk = family.trunk(model, size)
    if weights != "random":
        published = weights in family.weights
        if not published and weights in Family.weights:
            raise ConfigError(
                f"{name} has no weights {weights!r}",
                f"set backbone.weights to {family.weights[0]!r}, to 'random' or to a file",
            )
        state = family.published(model) if published else read_weights(Path(weights))
        source = f"the published file of {name}" if published else weights
        load_weights(trunk, _convert(family, trunk, state, source, name), source, name)
    return Backbone(name, trunk, freeze_statistics, size=size, frozen=frozen)


def _convert(
    family: Family, trunk: nn.Module, state: Mapping[str, Tensor], source: str, name: str
) -> dict[str, Tensor]:
    """`Family.fit`, which fails in many ways on a file of another model."""
    try:
        return family.fit(trunk, state)
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{source} does not fit {name}: {reason}", WEIGHTS_REMEDY) from None


def _is_signed(features: Tensor) -> bool:
    below = features.clamp(max=0).square().sum() / features.square().sum().clamp(min=1e-12)
    return bool(below > SIGNED_SHARE)


def _probe(name: str, trunk: nn.Module, size: int) -> tuple[Tensor, list[Level]]:
    """The map (1, C, h, w) of a fixed, noise-like image, and the levels that lead to it.

    Raises:
        ConfigError: the trunk cannot take images of that size, or gives no map.
    """
    was_training = trunk.training
    noise = torch.sin(12.9898 * torch.arange(3.0 * size * size) ** 1.1).view(1, 3, size, size)
    with torch.no_grad(), capture_outputs(blocks_of(trunk)) as outputs:
        try:
            features = trunk.eval()(noise)
        except (AssertionError, RuntimeError, ValueError, IndexError) as error:
            raise build_error(name, size, error) from None
    trunk.train(was_training)
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise no_feature_map(name)
    return features, levels_of(trunk, outputs)
