"""A backbone's inner levels: the outputs of its blocks on the way to the last map.

Blocks are detected by structure, so the networks of every library have them: the modules inside
the trunk's chains and stages, in the order in which they run. Layers outside a block, as in a
stem or throughout VGG, form one block from each convolution to the next.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from fgembed.backbones.tokens import TokenTrunk

# Attribute names that the libraries use for the chain of blocks inside a stage.
CHAINS = ("blocks", "layers", "stages", "resblocks", "trunk_output")

_Blocks = list[tuple[tuple[nn.Module, ...], Tensor]]  # parts of each block, and its output


class BackboneOutput(NamedTuple):
    """The output of one forward pass of a backbone.

    Attributes:
        features: (B, C, h, w), the last map.
        summary: (B, C), the vector that the network's own classifier takes.
        inner: maps (B, C_l, h_l, w_l) of inner levels, from the first to the last.
    """

    features: Tensor
    summary: Tensor
    inner: tuple[Tensor, ...] = ()


class Level(NamedTuple):
    """A block whose output is a map.

    Attributes:
        block: the module whose output is the map.
        channels: of the map.
        parts: all modules of the block, in the order in which they run.
    """

    block: nn.Module
    channels: int
    parts: tuple[nn.Module, ...]


def blocks_of(trunk: nn.Module) -> list[nn.Module]:
    """The blocks and single layers of a trunk, its chains and stages unpacked."""
    while len(children := list(trunk.children())) == 1:
        trunk = children[0]
    return list(_unpack(trunk))


@contextmanager
def capture_outputs(blocks: Sequence[nn.Module]) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Collects (block, output) of each block that runs inside and gives a tensor."""
    outputs: list[tuple[nn.Module, Tensor]] = []

    def record(block: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append((block, output))

    hooks = [block.register_forward_hook(record) for block in blocks]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def levels_of(trunk: nn.Module, outputs: Sequence[tuple[nn.Module, Tensor]]) -> list[Level]:
    """The levels among captured outputs: blocks that ran exactly once and gave a map."""
    runs = Counter(id(block) for block, _ in outputs)
    outputs = [(block, output) for block, output in outputs if runs[id(block)] == 1]
    if isinstance(trunk, TokenTrunk):
        height, width = trunk.grid
        count = trunk.prefix + height * width
        maps = _most_frequent_class(
            [(b, out) for b, out in outputs if out.ndim == 3 and out.shape[1] == count]
        )
        blocks: _Blocks = [((block,), output) for block, output in maps]
    else:
        blocks = _joined_layers([(b, output) for b, output in outputs if output.ndim == 4])
    return [Level(parts[-1], as_map(trunk, output).shape[1], parts) for parts, output in blocks]


def at_depths(levels: Sequence[Level], depths: Sequence[float]) -> list[Level]:
    """The levels nearest to `depths`, without duplicates and without the last, in order.

    Args:
        levels: all of a backbone, including the last.
        depths: shares of the way from the first to the last, in 0..1.

    Example:
        >>> levels = [Level(nn.Identity(), channels, ()) for channels in (8, 16, 32, 64)]
        >>> [level.channels for level in at_depths(levels, (0.0, 0.7, 1.0))]
        [8, 32]
    """
    last = len(levels) - 1
    positions = {min(round(depth * last), last - 1) for depth in depths}
    return [levels[position] for position in sorted(positions) if position >= 0]


def freeze(trunk: nn.Module, levels: Sequence[Level]) -> None:
    """Freezes the levels' parameters and all before them: stem, patches, position embeddings."""
    parts = [part for level in levels for part in level.parts]
    inside = {id(p) for part in parts for p in part.parameters()}
    parameters = list(trunk.parameters())
    last = max((number for number, p in enumerate(parameters) if id(p) in inside), default=-1)
    for parameter in parameters[: last + 1]:
        parameter.requires_grad_(False)


def as_map(trunk: nn.Module, output: Tensor) -> Tensor:
    """A block's output as (B, C, h, w)."""
    if isinstance(trunk, TokenTrunk):
        return trunk.patches(output)
    return output.permute(0, 3, 1, 2) if getattr(trunk, "channels_last", False) else output


def _unpack(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _is_chain(child):
            yield from _unpack(child)
        else:
            yield child


def _is_chain(module: nn.Module) -> bool:
    """Whether the module holds blocks, rather than the layers of one block."""
    if type(module) in (nn.Sequential, nn.ModuleList):
        return True
    chains = [module, *(getattr(module, name, None) for name in CHAINS)]
    return any(
        isinstance(chain, nn.Sequential | nn.ModuleList) and not all(map(_is_layer, chain))
        for chain in chains
    )


def _is_layer(module: nn.Module) -> bool:
    """Whether it is a single layer; timm's norms contain their activation."""
    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    return isinstance(module, norms) or not any(True for _ in module.children())


def _joined_layers(outputs: Sequence[tuple[nn.Module, Tensor]]) -> _Blocks:
    """Blocks unchanged; single layers joined from each convolution on; others dropped."""
    blocks: _Blocks = []
    in_layers = False
    for block, output in outputs:
        if not _is_layer(block) or isinstance(block, nn.Conv2d):
            blocks.append(((block,), output))
            in_layers = _is_layer(block)
        elif in_layers:
            blocks[-1] = ((*blocks[-1][0], block), output)
    return blocks


def _most_frequent_class(
    outputs: Sequence[tuple[nn.Module, Tensor]],
) -> list[tuple[nn.Module, Tensor]]:
    """Outputs of the most frequent class: a transformer's layers, not its norms and dropouts."""
    counts = Counter(type(block) for block, _ in outputs)
    most = max(counts.values(), default=0)
    return [pair for pair in outputs if counts[type(pair[0])] == most]
