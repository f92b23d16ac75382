"""Projection and prediction heads between an encoder and its loss."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp_head(
    sizes: Sequence[int], *, dropout: float = 0.0, last_norm: bool = True
) -> nn.Sequential:
    """MoCo v3's head (arXiv:2104.02057): (B, sizes[0]) -> (B, sizes[-1]).

    Linear layers without bias. Batch norm, ReLU and dropout, if set, follow each but the last.

    Example:
        >>> [type(layer).__name__ for layer in mlp_head([8, 16, 4])]
        ['Linear', 'BatchNorm1d', 'ReLU', 'Linear', 'BatchNorm1d']

    Args:
        sizes: lengths of input, hidden and output vectors.
        dropout: share of hidden values set to zero in training (LoDisc: 0.2).
        last_norm: whether a batch norm without weights ends the head.
    """
    layers: list[nn.Module] = []
    last = len(sizes) - 2
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(inputs, outputs, bias=False))
        if number < last:
            layers += [nn.BatchNorm1d(outputs), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
        elif last_norm:
            layers.append(nn.BatchNorm1d(outputs, affine=False))
    return nn.Sequential(*layers)
