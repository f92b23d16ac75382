"""Backbones by name, `<library>/<name>`: pictures in, one feature map out."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from fgembed.backbones.family import Family, unfit
from fgembed.backbones.levels import (
    Level,
    Reading,
    as_map,
    at_depths,
    blocks_of,
    freeze,
    levels_of,
    watched_outputs,
)
from fgembed.backbones.tokens import Attended, TokenTrunk
from fgembed.backbones.weights import load_weights, read_weights
from fgembed.errors import ConfigError

# name of the library and of the module whose FAMILY it is, imported when it is asked for
FAMILIES = {
    "torchvision": "from_torchvision",
    "timm": "from_timm",
    "open_clip": "from_open_clip",
}


SIGNED_SHARE = 0.1  # of a map's energy below zero; ReLU has none, SiLU and GELU a little


class Backbone(nn.Module):
    """A trunk and its name: (B, 3, H, W) normalised pictures -> (B, C, h, w).

    Attributes:
        name: `<library>/<name>`.
        channels: C.
        grid: (h, w) for pictures of the size that it is made for.
        signed: whether much of its map lies below zero, as after a layer norm; GeM is for others.
        freeze_statistics: batch-norm statistics stay as they are, in training mode too.
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
        features, self._levels = _try_out(name, trunk, size)
        if frozen and not self._levels:
            raise ConfigError(f"no blocks were found in {name}", "set backbone.frozen=0")
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

        The summary is what the network itself would classify by: the class token, or the mean
        of the features where there is none.
        """
        if isinstance(self.trunk, TokenTrunk):
            return self.trunk.read(images)
        features = self(images)
        return features, features.mean(dim=(2, 3))

    def read_levels(self, images: Tensor, depths: Sequence[float]) -> Reading:
        """The same, and the maps of the inner levels at the given depths (`inner_channels`)."""
        levels = at_depths(self._levels, depths)
        with watched_outputs([level.block for level in levels]) as outputs:
            features, summary = self.read(images)
        inner = tuple(as_map(self.trunk, output) for _, output in outputs)
        return Reading(features, summary, inner)

    def inner_channels(self, depths: Sequence[float]) -> list[int]:
        """C_l of the inner levels at the given depths, shares in 0..1 of the way to the last map.

        Fewer than depths where a backbone has few blocks, none where they give no maps.
        """
        return [level.channels for level in at_depths(self._levels, depths)]

    @property
    def level_blocks(self) -> list[nn.Module]:
        """The modules whose outputs are the levels, from the first to the last."""
        return [level.block for level in self._levels]

    def attend(self, images: Tensor) -> Attended:
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
        """Training mode; frozen batch norms stay in evaluation mode."""
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
        weights: `random`; `pretrained`, the library's own download, which torchvision and timm
            also know as `imagenet`; or a `.safetensors` or `.pt` file with the library's names.
        freeze_statistics: see `Backbone`.
        size: side of the pictures, in pixels, for a transformer's grid of patches.
        frozen: share of its blocks, from the first, that take no gradient.

    Raises:
        ConfigError: the name is unknown, or the weights or the size do not fit.
        NotFoundError: the weights cannot be downloaded, or the file is not there.
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
        source = f"what is published as {name}" if published else weights
        try:
            fitting = family.fit(trunk, state)
        except KeyError as error:
            raise ConfigError(f"{source} does not fit {name}: no {error}") from None
        except (ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
            raise ConfigError(f"{source} does not fit {name}: {error}") from None
        load_weights(trunk, fitting, source, name)
    return Backbone(name, trunk, freeze_statistics, size, frozen)


def family_of(name: str) -> tuple[Family, str]:
    """The library of `<library>/<name>` and its own part of the name.

    Raises:
        ConfigError: there is no such library.
        MissingExtraError: it is not installed.
    """
    library, _, model = name.partition("/")
    if library not in FAMILIES or not model:
        raise ConfigError(
            f"no backbone {name!r}",
            f"expected <library>/<name> with <library> one of {', '.join(FAMILIES)}",
        )
    family: Family = import_module(f"fgembed.backbones.{FAMILIES[library]}").FAMILY
    return family, model


def _is_signed(features: Tensor) -> bool:
    below = features.clamp(max=0).square().sum() / features.square().sum().clamp(min=1e-12)
    return bool(below > SIGNED_SHARE)


def _try_out(name: str, trunk: nn.Module, size: int) -> tuple[Tensor, list[Level]]:
    """The map (1, C, h, w) of a picture of something like noise, the same at every call.

    And the levels that lead to it.
    """
    was_training = trunk.training
    noise = torch.sin(12.9898 * torch.arange(3.0 * size * size) ** 1.1).view(1, 3, size, size)
    with torch.no_grad(), watched_outputs(blocks_of(trunk)) as outputs:
        try:
            features = trunk.eval()(noise)
        except (AssertionError, RuntimeError, ValueError, IndexError) as error:
            raise unfit(name, size, error) from None
    trunk.train(was_training)
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise ConfigError(f"{name} gives no feature map that fgembed can read")
    return features, levels_of(trunk, outputs)
