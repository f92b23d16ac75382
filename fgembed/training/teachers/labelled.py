"""Labels in what a student learns, as far as a run has any.

The layer that labels give to an embedding (`model.reading.label_whitening`) comes before the
neighbours, which it makes more often right; and images of one class or of a pair of the same thing
are neighbours for certain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.embedding.sampling import evenly_spaced
from fgembed.model.calibration import SAMPLE
from fgembed.model.reading.label_whitening import label_layer
from fgembed.model.reading.neighbourhood import Groups, with_neighbours
from fgembed.training.labels.label_groups import LabelGroups


@dataclass(frozen=True)
class LabelledTargets:
    """Which images have targets, and what labels say of them.

    Attributes:
        paths: the training images, then labelled ones that are not among them.
        groups: of the images; None without labels.
    """

    paths: list[Path]
    groups: Groups | None

    @classmethod
    def of(cls, labels: LabelGroups | None, paths: Sequence[Path]) -> Self:
        """Of training images and a run's labels."""
        if labels is None:
            return cls(list(paths), None)
        numbers, others = labels.numbers_of(paths)
        numbers += labels.numbers_of(others)[0]
        return cls([*paths, *others], Groups(torch.tensor(numbers), labels.differ))

    def averaged(self, targets: Tensor, most: int) -> Tensor:
        """The targets (N, D) with neighbours averaged, by the labels if there are any.

        Args:
            targets: of `paths`, unit length; zeros for an image that cannot be read.
            most: neighbours at most.
        """
        if self.groups is None:
            return with_neighbours(targets, most)
        readable = targets.any(dim=1)
        numbers = torch.where(readable, self.groups.numbers, -1)
        known = numbers >= 0
        if bool((numbers[known].bincount() > 1).any()):
            every = targets[readable]
            sample = every[evenly_spaced(len(every), SAMPLE)]
            layer = label_layer(targets[known], numbers[known], sample)
            targets = F.normalize(targets @ layer.float(), dim=1)
        return with_neighbours(targets, most, Groups(numbers, self.groups.differ))
