"""Backbones by name, `<library>/<name>`: pictures in, one feature map out."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fgembed.backbones.from_torchvision import torchvision_trunk
from fgembed.backbones.tokens import Attended, TokenTrunk
from fgembed.backbones.weights import read_weights
from fgembed.config import nearest
from fgembed.errors import ConfigError

FAMILIES: dict[str, Callable[[str, bool], nn.Module]] = {"torchvision": torchvision_trunk}


class Backbone(nn.Module):
    """A trunk and its name: (B, 3, H, W) normalised pictures -> (B, C, h, w).

    Attributes:
        name: `<library>/<name>`.
        channels: C.
        freeze_statistics: batch-norm statistics stay as they are, in training mode too.
    """

    def __init__(self, name: str, trunk: nn.Module, freeze_statistics: bool = False) -> None:
        super().__init__()
        self.name = name
        self.trunk = trunk
        self.freeze_statistics = freeze_statistics
        self.channels = _count_channels(trunk)

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

    def attend(self, images: Tensor) -> Attended:
        """Features, summary and attention of a vision transformer, in one pass.

        Raises:
            ConfigError: the backbone has no attention.
        """
        return self._transformer().attend(images)

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
        """Whether it is a vision transformer."""
        return isinstance(self.trunk, TokenTrunk)

    def _transformer(self) -> TokenTrunk:
        if not isinstance(self.trunk, TokenTrunk):
            raise ConfigError(
                f"{self.name} has no attention between a class token and patches; choose a vision "
                'transformer (see "fgembed backbones vit")'
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
    name: str, weights: str = "random", freeze_statistics: bool = False, size: int = 224
) -> Backbone:
    """A backbone by name.

    Args:
        name: `<library>/<name>`, for example `torchvision/resnet50`.
        weights: `random`; `imagenet`, the library's own download; or a `.safetensors` or
            `.pt` file with the library's state-dict names.
        freeze_statistics: see `Backbone`.
        size: side of the pictures, in pixels, for a transformer's grid of patches.

    Raises:
        ConfigError: the name is unknown, or the weights do not fit.
        NotFoundError: the weights cannot be downloaded, or the file is not there.
    """
    family, _, model = name.partition("/")
    if family not in FAMILIES or not model:
        raise ConfigError(
            f"no backbone {name!r}; expected <library>/<name> with <library> one of "
            f"{', '.join(FAMILIES)}"
        )
    trunk = FAMILIES[family](model, weights == "imagenet")
    if weights not in ("random", "imagenet"):
        _load(trunk, Path(weights), name)
    return Backbone(name, trunk, freeze_statistics)


def _load(trunk: nn.Module, file: Path, name: str) -> None:
    """Copies the trunk's weights out of a file that may also hold a classifier."""
    state = read_weights(file)
    wanted = trunk.state_dict()
    for key, value in wanted.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise ConfigError(f"{file} does not fit {name}: no {key!r}{nearest(key, state)}")
        if key in state and state[key].shape != value.shape:
            raise ConfigError(
                f"{file} does not fit {name}: {key!r} is {tuple(state[key].shape)}, "
                f"expected {tuple(value.shape)}"
            )
    trunk.load_state_dict({key: state.get(key, value) for key, value in wanted.items()})


def _count_channels(trunk: nn.Module) -> int:
    was_training = trunk.training
    with torch.no_grad():
        channels = trunk.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    trunk.train(was_training)
    return int(channels)
