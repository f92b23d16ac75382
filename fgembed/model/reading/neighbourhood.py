"""Neighbours averaged into vectors: what look-alike images share counts more than what each shows.

Database-side augmentation (arXiv:1610.07940, weights by a power of the cosine: arXiv:1711.02512),
with two safeguards for images of which nobody knows the class: only mutual neighbours count, and
their number falls with the number of images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGES_EACH = 200  # of so many images one more neighbour counts
EQUAL_AT = 0.63  # from this cosine on a neighbour counts as much as the image itself
POWER = 5  # of the cosine: neighbours hardly count below half of it
PART = 32_768  # vectors
ROWS = 2048  # of the similarities that are in memory at a time


def with_neighbours(vectors: Tensor, most: int) -> Tensor:
    """Unit vectors with those of their mutual nearest neighbours added.

        t'_i = unit(t_i + sum_{j in M(i)} min(1, t_i . t_j / 0.63)^5 t_j)

    M(i) are the images among the k nearest to i that have i among their own k nearest, and
    k = min(most, N // 200): in a small set the nearest is often of another class. More than 32,768
    vectors are split evenly into sets of their own, so that time grows with N only.

    Args:
        vectors: (N, D) of unit length; zeros have and are no neighbours, and stay zeros.
        most: neighbours at most; 0 for none.

    Returns:
        (N, D), of unit length.
    """
    parts = -(-len(vectors) // PART)
    result = vectors.clone()
    for first in range(parts):
        # Every n-th, because the files of one folder are alike.
        members = torch.arange(first, len(vectors), parts)
        members = members[vectors[members].any(dim=1)]
        result[members] = averaged(vectors[members], min(most, len(members) // IMAGES_EACH))
    return result


def averaged(vectors: Tensor, count: int) -> Tensor:
    """`with_neighbours` of one set for a given k, which is below N."""
    if not count:
        return vectors
    nearest, cosines = _nearest(vectors, count)
    rows = torch.arange(len(vectors))
    mutual = (nearest[nearest] == rows[:, None, None]).any(dim=2)  # (N, k, k) -> (N, k)
    weights = (cosines / EQUAL_AT).clamp(0, 1).pow(POWER) * mutual
    total = vectors.clone()
    for column in range(count):
        total += weights[:, column, None] * vectors[nearest[:, column]]
    return F.normalize(total, dim=1)


def _nearest(vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Positions and cosines (N, k) of the nearest others."""
    positions, cosines = [], []
    for start in range(0, len(vectors), ROWS):
        rows = vectors[start : start + ROWS]
        similarities = rows @ vectors.T
        similarities[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = -2
        best = similarities.topk(count, dim=1)
        positions.append(best.indices)
        cosines.append(best.values)
    return torch.cat(positions), torch.cat(cosines)
