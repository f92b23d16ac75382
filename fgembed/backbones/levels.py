"""A backbone's inner levels: what some of its blocks give on the way to the last map.

Blocks are found by structure, so that every library's networks have them: what is inside the
trunk's chains and stages, in the order in which it runs. Layers that stand alone there, as in a
stem or in all of VGG, count as one block from each convolution to the next.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from fgembed.backbones.tokens import TokenTrunk

# What a stage of a library's network calls the chain of blocks inside it.
CHAINS = ("blocks", "layers", "stages", "resblocks", "trunk_output")


_Blocks = list[tuple[tuple[nn.Module, ...], Tensor]]  # the parts of each, and what it gives


class Reading(NamedTuple):
    """What one pass of a backbone gives.

    Attributes:
        features: (B, C, h, w), the last map.
        summary: (B, C), what the network itself would classify by.
        inner: maps (B, C_l, h_l, w_l) of inner levels, from the first to the last.
    """

    features: Tensor
    summary: Tensor
    inner: tuple[Tensor, ...] = ()


class Level(NamedTuple):
    """A block that gives a map.

    Attributes:
        block: the module whose output it is.
        channels: of the map.
        parts: all modules of the block, in the order in which they run.
    """

    block: nn.Module
    channels: int
    parts: tuple[nn.Module, ...]


def blocks_of(trunk: nn.Module) -> list[nn.Module]:
    """The blocks and lone layers of a trunk: what its chains and stages hold, each opened."""
    while len(children := list(trunk.children())) == 1:
        trunk = children[0]
    return list(_opened(trunk))


@contextmanager
def watched_outputs(blocks: Sequence[nn.Module]) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Inside, each block that runs appends itself and what it gives, if that is a tensor."""
    outputs: list[tuple[nn.Module, Tensor]] = []

    def keep(block: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append((block, output))

    hooks = [block.register_forward_hook(keep) for block in blocks]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def levels_of(trunk: nn.Module, outputs: Sequence[tuple[nn.Module, Tensor]]) -> list[Level]:
    """The blocks that ran, once each, and gave maps, as `watched_outputs` saw them."""
    runs = Counter(id(block) for block, _ in outputs)
    outputs = [(block, output) for block, output in outputs if runs[id(block)] == 1]
    if isinstance(trunk, TokenTrunk):
        height, width = trunk.grid
        count = trunk.prefix + height * width
        maps = _alike([(b, out) for b, out in outputs if out.ndim == 3 and out.shape[1] == count])
        blocks: _Blocks = [((block,), output) for block, output in maps]
    else:
        blocks = _joined_layers([(b, output) for b, output in outputs if output.ndim == 4])
    return [Level(parts[-1], as_map(trunk, output).shape[1], parts) for parts, output in blocks]


def at_depths(levels: Sequence[Level], depths: Sequence[float]) -> list[Level]:
    """The levels nearest to the given depths, each once, without the last, in order.

    Args:
        levels: all of a backbone, the last included.
        depths: shares of the way from the first to the last, in 0..1.
    """
    last = len(levels) - 1
    places = {min(round(depth * last), last - 1) for depth in depths}
    return [levels[place] for place in sorted(places) if place >= 0]


def freeze(trunk: nn.Module, levels: Sequence[Level]) -> None:
    """The levels' parameters and all that come before them: stem, patches, positions."""
    parts = [part for level in levels for part in level.parts]
    inside = {id(p) for part in parts for p in part.parameters()}
    every = list(trunk.parameters())
    last = max((place for place, p in enumerate(every) if id(p) in inside), default=-1)
    for parameter in every[: last + 1]:
        parameter.requires_grad_(False)


def as_map(trunk: nn.Module, output: Tensor) -> Tensor:
    """A block's output as (B, C, h, w)."""
    if isinstance(trunk, TokenTrunk):
        return trunk.patches(output)
    return output.permute(0, 3, 1, 2) if getattr(trunk, "channels_last", False) else output


def _opened(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if _is_chain(child):
            yield from _opened(child)
        else:
            yield child


def _is_chain(module: nn.Module) -> bool:
    """Whether blocks are inside, and not the layers of one block."""
    if type(module) in (nn.Sequential, nn.ModuleList):
        return True
    chains = [module, *(getattr(module, name, None) for name in CHAINS)]
    return any(
        isinstance(chain, nn.Sequential | nn.ModuleList) and not all(map(_is_layer, chain))
        for chain in chains
    )


def _is_layer(module: nn.Module) -> bool:
    """A layer alone; timm's norms hold their activation."""
    norms = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
    return isinstance(module, norms) or not any(True for _ in module.children())


def _joined_layers(outputs: Sequence[tuple[nn.Module, Tensor]]) -> _Blocks:
    """Blocks as they are; lone layers from a convolution on as one; others count for nothing."""
    found: _Blocks = []
    in_layers = False
    for block, output in outputs:
        if not _is_layer(block) or isinstance(block, nn.Conv2d):
            found.append(((block,), output))
            in_layers = _is_layer(block)
        elif in_layers:
            found[-1] = ((*found[-1][0], block), output)
    return found


def _alike(outputs: Sequence[tuple[nn.Module, Tensor]]) -> list[tuple[nn.Module, Tensor]]:
    """Those of the most frequent class: a transformer's layers without its norms and dropouts."""
    counts = Counter(type(block) for block, _ in outputs)
    most = max(counts.values(), default=0)
    return [pair for pair in outputs if counts[type(pair[0])] == most]
