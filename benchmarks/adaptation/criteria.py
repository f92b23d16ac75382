"""Figures without labels of one encoder on new photographs, each larger where it may be better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.evaluation.metrics import effective_rank

NEAREST = 10


@dataclass(frozen=True)
class Seen:
    """Unit vectors (Q, D) of the same new photographs by one encoder.

    Attributes:
        both: as a search has them: of image and mirror image together, or of the image alone.
        plain: of the image alone.
        mirrored: of its mirror image alone.
        larger: as `both`, read at the larger size.
    """

    both: Tensor
    plain: Tensor
    mirrored: Tensor
    larger: Tensor


def nearest(vectors: Tensor) -> Tensor:
    """(Q, Q), true at the ten nearest others of each."""
    cosines = (vectors @ vectors.T).fill_diagonal_(-2)
    found = cosines.topk(min(NEAREST, len(vectors) - 1), dim=1).indices
    return torch.zeros_like(cosines, dtype=torch.bool).scatter_(1, found, value=True)


def overlap(one: Tensor, other: Tensor) -> float:
    """The share of the ten nearest that two encoders have in common."""
    first, second = nearest(one), nearest(other)
    return float((first & second).sum() / first.sum())


def mutual_pairs(seen: Seen) -> float:
    """The share of images that are the nearest of their nearest."""
    found = (seen.both @ seen.both.T).fill_diagonal_(-2).argmax(dim=1)
    return float((found[found] == torch.arange(len(found))).float().mean())


def mutual_ten(seen: Seen) -> float:
    """The share of the ten nearest whose ten nearest hold the image."""
    found = nearest(seen.both)
    return float((found & found.T).sum() / found.sum())


def few_hubs(seen: Seen) -> float:
    """Minus the skewness of how often each image is among the ten nearest of others."""
    counts = nearest(seen.both).sum(dim=0).double()
    centred = counts - counts.mean()
    return -float((centred**3).mean() / centred.square().mean() ** 1.5)


def halves(seen: Seen) -> float:
    """What two random halves of the dimensions, turned at random, have in common."""
    width = seen.both.shape[1]
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    turned = seen.both @ turn
    return overlap(*(F.normalize(half, dim=1) for half in turned.tensor_split(2, dim=1)))


def contrast(seen: Seen) -> float:
    """The mean cosine of the ten nearest, in standard deviations of all."""
    cosines = seen.both @ seen.both.T
    others = cosines[~torch.eye(len(cosines), dtype=torch.bool)]
    return float((cosines[nearest(seen.both)].mean() - others.mean()) / others.std())


CRITERIA: Mapping[str, Callable[[Seen], float]] = {
    "mutual nearest pairs": mutual_pairs,
    "mutual among the ten nearest": mutual_ten,
    "few hubs (- skewness)": few_hubs,
    "ten nearest of two halves of the dimensions": halves,
    "ten nearest of image and mirror image": lambda seen: overlap(seen.plain, seen.mirrored),
    "ten nearest at own and larger size": lambda seen: overlap(seen.both, seen.larger),
    "nearest above the rest (contrast)": contrast,
    "effective rank": lambda seen: effective_rank(seen.both.numpy()),
}
