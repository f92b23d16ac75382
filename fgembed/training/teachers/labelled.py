"""Labels in what a student learns, as far as a run has any.

The layer that labels give to an embedding (`model.reading.label_whitening`) comes before the
neighbours, which it makes more often right; and images of one class are neighbours for certain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.model.reading.label_whitening import label_layer
from fgembed.model.reading.neighbourhood import with_neighbours
from fgembed.training.labels.label_groups import LabelGroups


@dataclass(frozen=True)
class LabelledTargets:
    """Which images have targets, and the classes of those that have labels.

    Attributes:
        paths: the training images, then labelled ones that are not among them.
        classes: (N) integers, -1 for an image without a label; None if none has one.
    """

    paths: list[Path]
    classes: Tensor | None

    @classmethod
    def of(cls, labels: LabelGroups | None, paths: Sequence[Path]) -> Self:
        """Of training images and a run's labels."""
        if labels is None:
            return cls(list(paths), None)
        classes, others = labels.classes_of(paths)
        return cls([*paths, *others], torch.tensor(classes + labels.classes_of(others)[0]))

    def averaged(self, targets: Tensor, most: int) -> Tensor:
        """The targets (N, D) with neighbours averaged, by the labels if there are any.

        Args:
            targets: of `paths`, unit length; zeros for an image that cannot be read.
            most: neighbours at most.
        """
        if self.classes is None:
            return with_neighbours(targets, most)
        classes = torch.where(targets.any(dim=1), self.classes, -1)
        known = classes >= 0
        if bool((classes[known].bincount() > 1).any()):
            layer = label_layer(targets[known], classes[known], targets[targets.any(dim=1)])
            targets = F.normalize(targets.double() @ layer, dim=1).float()
        return with_neighbours(targets, most, classes)
