"""Folds batch norms into the convolutions before them: same maps, half the time on a CPU."""

import copy
import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fgembed.backbones import Backbone
from fgembed.model.encoder import Encoder
from fgembed.model.module_state import keep_modes

TOLERANCE = 1e-3  # largest difference, as a share of a map's largest value
ALL_DEPTHS = tuple(percent / 100 for percent in range(101))  # selects all inner levels


def fold_batch_norms(backbone: Backbone, size: int) -> Backbone:
    """A folded copy for inference; the backbone itself if folding would change its output.

    A batch norm registered right after a convolution is assumed to follow it. A network may
    compute in another order, so the copy is compared with the original on an image of noise.

    Args:
        backbone: in any mode; it is not changed.
        size: side of the images, in pixels.
    """
    folded = copy.deepcopy(backbone).eval()
    # Inner levels are captured by hooks on these modules, so they must stay.
    levels = {id(block) for block in folded.level_blocks}
    if not any([_fold(module, levels) for module in list(folded.modules())]):
        return backbone
    device = next(backbone.parameters()).device
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 3, size, size, generator=generator).to(device)
    with torch.inference_mode(), keep_modes(backbone):
        expected = backbone.eval().read_levels(noise, ALL_DEPTHS)
        actual = folded.read_levels(noise, ALL_DEPTHS)
    pairs = zip((expected.features, *expected.inner), (actual.features, *actual.inner), strict=True)
    same = all(bool((a - b).abs().max() <= TOLERANCE * a.abs().max()) for a, b in pairs)
    return folded if same else backbone


def fold_encoder(encoder: Encoder, size: int, backbone: Backbone | None = None) -> Encoder:
    """An encoder for inference on the folded backbone; all other modules are shared.

    Args:
        encoder: is not changed.
        size: side of the images, in pixels.
        backbone: the encoder's, folded already.
    """
    folded = Encoder(
        backbone or fold_batch_norms(encoder.backbone, size),
        encoder.pooling,
        encoder.whitening,
        encoder.reading,
    )
    folded.levels = encoder.levels
    return folded


def _fold(module: nn.Module, excluded: set[int]) -> bool:
    """Folds pairs among a module's direct children, excluded ids aside; whether there were any."""
    children = list(module.named_children())
    pairs = [
        (name, conv, next_name, norm)
        for (name, conv), (next_name, norm) in itertools.pairwise(children)
        if type(conv) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and norm.track_running_stats
        and norm.num_features == conv.out_channels
        and not {id(conv), id(norm)} & excluded
    ]
    for name, conv, next_name, norm in pairs:
        setattr(module, name, fuse_conv_bn_eval(conv, norm))
        setattr(module, next_name, nn.Identity())
    return bool(pairs)
