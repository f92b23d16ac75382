"""A backbone's inner levels: what some of its blocks give on the way to the last map.

Blocks are found by structure, not by name, so that every library's networks have them: the
trunk's children in the order in which they run, with each chain, list and stage opened.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn

from fgembed.backbones.tokens import TokenTrunk

# What a stage of a library's network calls the chain of blocks inside it.
CHAINS = ("blocks", "layers", "stages", "resblocks", "trunk_output")


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
    """A block whose output is a map of `channels` channels."""

    block: nn.Module
    channels: int


def blocks_of(trunk: nn.Module) -> list[nn.Module]:
    """The blocks of a trunk, in order: the first modules below it that are no plain chains."""
    children = list(trunk.children())
    found: list[nn.Module] = []
    for child in children:
        opened = len(children) == 1 or _is_chain(child)
        inside = blocks_of(child) if opened else []
        found += inside or [child]
    return found


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
    """The blocks that ran and gave maps, as `watched_outputs` saw them."""
    if isinstance(trunk, TokenTrunk):
        height, width = trunk.grid
        count = trunk.prefix + height * width
        maps = _alike([(b, out) for b, out in outputs if out.ndim == 3 and out.shape[1] == count])
    else:
        maps = [(block, output) for block, output in outputs if output.ndim == 4]
    return [Level(block, as_map(trunk, output).shape[1]) for block, output in maps]


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
    inside = {id(p) for level in levels for p in level.block.parameters()}
    every = list(trunk.parameters())
    last = max((place for place, p in enumerate(every) if id(p) in inside), default=-1)
    for parameter in every[: last + 1]:
        parameter.requires_grad_(False)


def as_map(trunk: nn.Module, output: Tensor) -> Tensor:
    """A block's output as (B, C, h, w)."""
    if isinstance(trunk, TokenTrunk):
        return trunk.patches(output)
    return output.permute(0, 3, 1, 2) if getattr(trunk, "channels_last", False) else output


def _is_chain(module: nn.Module) -> bool:
    return type(module) in (nn.Sequential, nn.ModuleList) or any(
        isinstance(getattr(module, name, None), nn.Sequential | nn.ModuleList) for name in CHAINS
    )


def _alike(outputs: Sequence[tuple[nn.Module, Tensor]]) -> list[tuple[nn.Module, Tensor]]:
    """Those of the most frequent class: a transformer's layers without its norms and dropouts."""
    counts = Counter(type(block) for block, _ in outputs)
    most = max(counts.values(), default=0)
    return [pair for pair in outputs if counts[type(pair[0])] == most]
