"""Linear classifiers on frozen vectors, each trained as in the code of a paper."""

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
    """The settings in which the published probes differ.

    Attributes:
        learning_rate: at the common batch size of 256.
        milestones: epochs at which the rate falls to a tenth; without any it follows a cosine.
        raw: whether the probe reads the backbone's raw summary (the class token, or the mean
            where there is none) and not the unit vector.

    Example:
        >>> recipe = Recipe(learning_rate=30.0, milestones=(60, 80))
        >>> [round(recipe.rate(epoch), 3) for epoch in (0, 60, 80)]
        [30.0, 3.0, 0.3]
    """

    learning_rate: float
    milestones: tuple[int, ...] = ()
    raw: bool = False

    def rate(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        if self.milestones:
            return self.learning_rate * 0.1 ** sum(epoch >= m for m in self.milestones)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS))

    def summary(self) -> str:
        """The recipe in words, for a caption."""
        milestones = " and ".join(map(str, self.milestones))
        schedule = f"x 0.1 at epochs {milestones}" if milestones else "under a cosine"
        return (
            f"a linear layer on {'the raw summary' if self.raw else 'unit vectors'}, "
            f"SGD {MOMENTUM}, learning rate {self.learning_rate:g} {schedule}, batch {BATCH}, "
            f"{EPOCHS} epochs, the last one scored"
        )


# From the released code of LCR (arXiv:2303.01669), LoDisc (arXiv:2403.04066; there
# 0.5 x batch / 256) and PAPN (ICCV 2025).
PROBES = {
    "lcr": Recipe(learning_rate=30.0, milestones=(60, 80)),
    "lodisc": Recipe(learning_rate=0.5, raw=True),
    "papn": Recipe(learning_rate=0.03),
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

    def train_epoch(self, vectors: Tensor, targets: Tensor, sample: Tensor, epoch: int) -> None:
        """One shuffled pass over the rows `sample` (M,) of vectors (N, D) and targets (N,)."""
        self.optimiser.param_groups[0]["lr"] = self.recipe.rate(epoch)
        order = sample[torch.randperm(len(sample), generator=self.random)]
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
        """1.0 where the true class is among the k likeliest, else 0.0, (Q,).

        Args:
            vectors: (Q, D).
            truth: the true classes, (Q,); -1 for one that the probe was not trained on.
            k: how many classes count.
        """
        likeliest = self.logits(vectors).topk(min(k, len(self.bias)), dim=1).indices
        hits: Vectors = (likeliest == truth[:, None]).any(dim=1).double().numpy()
        return hits


def stratified(labels: Labels, share: float, seed: int) -> Ids:
    """The rows of a random sample of every class, in order.

    Args:
        labels: (N,).
        share: of the rows of a class, in 0..1; at least one row is drawn.
        seed: of the draw.

    Example:
        >>> labels = np.array(["a", "a", "a", "a", "b", "b"])
        >>> labels[stratified(labels, share=0.5, seed=0)].tolist()
        ['a', 'a', 'b']
    """
    generator = np.random.default_rng(seed)
    sample = []
    for name in np.unique(labels):
        members = np.flatnonzero(labels == name)
        count = max(1, math.floor(share * len(members) + 0.5))
        sample.append(generator.choice(members, count, replace=False))
    return np.sort(np.concatenate(sample))
