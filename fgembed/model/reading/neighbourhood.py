"""Neighbours averaged into vectors: what look-alike images share counts more than what each shows.

Database-side augmentation (arXiv:1610.07940, weights by a power of the cosine: arXiv:1711.02512),
with two safeguards for images of which nobody knows the class: only mutual neighbours count, and
their number falls with the number of images.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGES_EACH = 200  # of so many images one more neighbour counts
EQUAL_AT = 0.63  # from this cosine on a neighbour counts as much as the image itself
POWER = 5  # of the cosine: neighbours hardly count below half of it
PART = 32_768  # vectors
ROWS = 2048  # of the similarities that are in memory at a time


@dataclass(frozen=True)
class Groups:
    """Which images are known to be of one thing.

    Attributes:
        numbers: (N) integers, one for each group; -1 for an image of which nothing is known.
        differ: whether two groups are two things, as classes are. Groups that judged pairs join
            may be of one.
    """

    numbers: Tensor
    differ: bool = True

    def rows(self, positions: Tensor) -> "Groups":
        """Those of the images at some positions."""
        return Groups(self.numbers[positions], self.differ)


def with_neighbours(vectors: Tensor, most: int, groups: Groups | None = None) -> Tensor:
    """Unit vectors with those of their mutual nearest neighbours added.

        t'_i = unit(t_i + sum_{j in M(i)} min(1, t_i . t_j / 0.63)^5 t_j)

    M(i) are the images among the k nearest to i that have i among their own k nearest, and
    k = min(most, N // 200): in a small set the nearest is often of another class. More than 32,768
    vectors are split evenly into sets of their own, so that time grows with N only.

    The others of an image's group are neighbours without being near, also in a small set: they
    count as much as k neighbours together, at least one, and as one each at most. Images of two
    groups that differ are no neighbours. Of split sets, groups are split as well.

    Args:
        vectors: (N, D) of unit length; zeros have and are no neighbours, and stay zeros.
        most: neighbours at most; 0 for none.
        groups: of the images, if any are known.

    Returns:
        (N, D), of unit length.
    """
    parts = -(-len(vectors) // PART)
    result = vectors.clone()
    for first in range(parts):
        # Every n-th, because the files of one folder are alike.
        members = torch.arange(first, len(vectors), parts)
        members = members[vectors[members].any(dim=1)]
        known = None if groups is None or not most else groups.rows(members)
        count = min(most, len(members) // IMAGES_EACH)
        result[members] = averaged(vectors[members], count, known)
    return result


def averaged(vectors: Tensor, count: int, groups: Groups | None = None) -> Tensor:
    """`with_neighbours` of one set for a given k, which is below N."""
    if not count and groups is None:
        return vectors
    total = vectors.clone()
    if groups is not None:
        total += _of_the_group(vectors, groups.numbers, max(count, 1))
    if count:
        nearest, cosines = _nearest(vectors, count, groups)
        rows = torch.arange(len(vectors))
        mutual = (nearest[nearest] == rows[:, None, None]).any(dim=2)  # (N, k, k) -> (N, k)
        weights = (cosines / EQUAL_AT).clamp(0, 1).pow(POWER) * mutual
        for column in range(count):
            total += weights[:, column, None] * vectors[nearest[:, column]]
    return F.normalize(total, dim=1)


def _of_the_group(vectors: Tensor, numbers: Tensor, count: int) -> Tensor:
    """The sum (N, D) of the others of each image's group, as of `count` images at most."""
    known = numbers >= 0
    sums = vectors.new_zeros(int(numbers.max()) + 1, vectors.shape[1])
    sums.index_add_(0, numbers[known], vectors[known])
    others = numbers[known].bincount()[numbers[known]] - 1
    weights = (count / others.clamp(min=1)).clamp(max=1)
    result = torch.zeros_like(vectors)
    result[known] = weights[:, None] * (sums[numbers[known]] - vectors[known])
    return result


def _nearest(vectors: Tensor, count: int, groups: Groups | None) -> tuple[Tensor, Tensor]:
    """Positions and cosines (N, k) of the nearest others that no group tells anything about."""
    positions, cosines = [], []
    for start in range(0, len(vectors), ROWS):
        rows = vectors[start : start + ROWS]
        similarities = rows @ vectors.T
        similarities[torch.arange(len(rows)), torch.arange(start, start + len(rows))] = -2
        if groups is not None:
            own = groups.numbers[start : start + ROWS, None]
            both_known = (own >= 0) & (groups.numbers >= 0)
            same = own == groups.numbers
            similarities[both_known if groups.differ else both_known & same] = -2
        best = similarities.topk(count, dim=1)
        positions.append(best.indices)
        cosines.append(best.values)
    return torch.cat(positions), torch.cat(cosines)
