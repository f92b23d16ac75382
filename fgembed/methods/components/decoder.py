"""Decoders: from a code back to an image, in five doublings of the side.

A linear seed maps the code to a 4 x 4 map, which is resized to a thirty-second of the image. Each
of five stages then doubles the side: 7 -> 14 -> 28 -> 56 -> 112 -> 224. For other sizes the sides
are the image's, halved and rounded up, 2 -> 4 -> 7 -> 14 -> 28 -> 56, so that the last one is
exact. Resizing is nearest-neighbour; the output is linear, because the target is normalised.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]
SEED_SIDE = 4
STAGES = 5
FULL_WIDTHS, FULL_BLOCKS = (1024, 512, 256, 256), (3, 4, 6, 3)


class Decoder(nn.Module):
    """A seed map, up to five stages and a convolution to three channels; see the module.

    Args:
        seed: (B, C) -> (B, K x 16).
        stages: the blocks of each stage, at most five stages; a missing stage only resizes. A
            block takes a map and its output size.
        head: the convolution from the last map to (B, 3, H, W).
    """

    def __init__(
        self, seed: nn.Module, stages: Sequence[Sequence[nn.Module]], head: nn.Module
    ) -> None:
        super().__init__()
        self.seed = seed
        self.stages = nn.ModuleList(nn.ModuleList(blocks) for blocks in stages)
        self.head = head

    def forward(self, code: Tensor, size: Size) -> Tensor:
        """(B, C) -> (B, 3, *size), normalised images."""
        first, *sizes = side_walk(size)
        maps = _resize(self.seed(code).unflatten(1, (-1, SEED_SIDE, SEED_SIDE)), first)
        for stage, stage_size in zip(self.stages, sizes, strict=False):
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                maps = block(maps, stage_size)
        images: Tensor = self.head(_resize(maps, size))
        return images


class UpBlock(nn.Module):
    """Resize, 3 x 3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor, size: Size) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, *size)."""
        return F.relu(self.norm(self.convolution(_resize(maps, size))))


class MirroredBottleneck(nn.Module):
    """ResNet's bottleneck with a resize before its 3 x 3 convolution and behind its skip."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.narrow = _normed(inputs, inner, 1)
        self.spread = _normed(inner, inner, 3)
        self.widen = _normed(inner, outputs, 1)
        self.skip = nn.Identity() if inputs == outputs else _normed(inputs, outputs, 1)

    def forward(self, maps: Tensor, size: Size) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, *size)."""
        inner = F.relu(self.spread(_resize(F.relu(self.narrow(maps)), size)))
        return F.relu(self.widen(inner) + _resize(self.skip(maps), size))


def light_decoder(channels: int) -> Decoder:
    """Five plain blocks that halve the channels as they double the side.

    512 -> 256 -> 128 -> 64 -> 32 -> 16 for codes of a ResNet-50, and half of each for shorter
    codes, whose backbones cost less than that decoder. The plan is ours, for small sets. The seed
    is the full decoder's 4 x 4; one of 7 x 7 would hold three times the weights.

    Args:
        channels: C, the length of a code.

    Example:
        >>> import torch
        >>> light_decoder(64)(torch.rand(2, 64), (32, 48)).shape
        torch.Size([2, 3, 32, 48])
    """
    width = 512 if channels >= 2048 else 256
    widths = [width >> stage for stage in range(STAGES + 1)]
    seed = nn.Linear(channels, width * SEED_SIDE**2)
    stages = [[UpBlock(inputs, outputs)] for inputs, outputs in pairwise(widths)]
    return Decoder(seed, stages, nn.Conv2d(widths[-1], 3, 3, padding=1))


def full_decoder(channels: int) -> Decoder:
    """A mirrored ResNet-50: stages of 3, 4, 6 and 3 bottlenecks, then a plain doubling.

    As in the code of SynPair's authors before it (github.com/zihuwang97/contrast_autoencoder).

    Args:
        channels: C, the length of a code.
    """
    width = 2 * FULL_WIDTHS[0]
    seed = nn.Sequential(nn.Linear(channels, 512), nn.Linear(512, width * SEED_SIDE**2))
    stages = []
    for outputs, count in zip(FULL_WIDTHS, FULL_BLOCKS, strict=True):
        inputs = [width] + [outputs] * (count - 1)
        stages.append([MirroredBottleneck(channels_in, outputs) for channels_in in inputs])
        width = outputs
    return Decoder(seed, stages, nn.Conv2d(width, 3, 3, padding=1))


def side_walk(size: Size) -> list[Size]:
    """The sizes (h, w) of the maps, from a thirty-second of the image to the image's own.

    Example:
        >>> side_walk((224, 56))
        [(7, 2), (14, 4), (28, 7), (56, 14), (112, 28), (224, 56)]
    """
    height, width = size
    return [(-(-height // 2**k), -(-width // 2**k)) for k in range(STAGES, -1, -1)]


def _resize(maps: Tensor, size: Size) -> Tensor:
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size)


def _normed(inputs: int, outputs: int, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
