"""Linear classifiers on frozen vectors, each trained as a paper's code does it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.embedding.array_types import Ids, Labels, Vectors

EPOCHS = 100
BATCH = 256
MOMENTUM = 0.9


@dataclass(frozen=True)
class Recipe:
    """What a published probe does its own way; the rest is common to all.

    Attributes:
        learning_rate: at the common batch of 256.
        milestones: epochs from which the rate is a tenth; without any it follows a cosine.
        raw: reads the backbone's summary as it is (the class token, or the mean where there is
            none), not the unit vector.
    """

    learning_rate: float
    milestones: tuple[int, ...] = ()
    raw: bool = False

    def rate(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        if self.milestones:
            return self.learning_rate * 0.1 ** sum(epoch >= m for m in self.milestones)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS))

    def words(self) -> str:
        """What it does, for a caption."""
        shape = " and ".join(map(str, self.milestones))
        schedule = f"x 0.1 at epochs {shape}" if shape else "under a cosine"
        return (
            f"a linear layer on {'the raw summary' if self.raw else 'unit vectors'}, "
            f"SGD {MOMENTUM}, learning rate {self.learning_rate:g} {schedule}, batch {BATCH}, "
            f"{EPOCHS} epochs, the last one scored"
        )


# As the released codes of LCR (arXiv:2303.01669), LoDisc (arXiv:2403.04066; there
# 0.5 x batch / 256) and PAPN (ICCV 2025) have them.
PROBES = {
    "lcr": Recipe(30.0, (60, 80)),
    "lodisc": Recipe(0.5, raw=True),
    "papn": Recipe(0.03),
}


class LinearProbe:
    """A linear layer, weights N(0, 0.01), bias 0, under SGD without weight decay."""

    def __init__(self, recipe: Recipe, dimensions: int, classes: int, seed: int) -> None:
        self.recipe = recipe
        self.random = torch.Generator().manual_seed(seed)
        weight = 0.01 * torch.randn(classes, dimensions, generator=self.random)
        self.weight = weight.requires_grad_()
        self.bias = torch.zeros(classes, requires_grad=True)
        self.optimiser = torch.optim.SGD([self.weight, self.bias], momentum=MOMENTUM)

    def train_epoch(self, vectors: Tensor, targets: Tensor, chosen: Tensor, epoch: int) -> None:
        """One pass over the rows `chosen` (M,) of vectors (N, D) and targets (N,), shuffled."""
        self.optimiser.param_groups[0]["lr"] = self.recipe.rate(epoch)
        order = chosen[torch.randperm(len(chosen), generator=self.random)]
        for rows in torch.split(order, BATCH):
            loss = F.cross_entropy(self.logits(vectors[rows]), targets[rows])
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()

    def logits(self, vectors: Tensor) -> Tensor:
        """(B, D) -> (B, classes)."""
        return F.linear(vectors, self.weight, self.bias)

    @torch.no_grad()
    def correct(self, vectors: Tensor, truth: Tensor, k: int) -> Vectors:
        """(Q,): 1.0 where the right class is among the k likeliest; truth is -1 where unknown."""
        likeliest = self.logits(vectors).topk(min(k, len(self.bias)), dim=1).indices
        found: Vectors = (likeliest == truth[:, None]).any(dim=1).double().numpy()
        return found


def stratified(labels: Labels, share: float, seed: int) -> Ids:
    """Rows of a share of every class, at least one each, in order."""
    generator = np.random.default_rng(seed)
    chosen = []
    for name in np.unique(labels):
        members = np.flatnonzero(labels == name)
        count = max(1, math.floor(share * len(members) + 0.5))
        chosen.append(generator.choice(members, count, replace=False))
    return np.sort(np.concatenate(chosen))
