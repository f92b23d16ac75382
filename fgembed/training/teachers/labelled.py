"""Labels in what a student learns, as far as a run has any.

The layer that labels give to an embedding (`model.reading.label_whitening`) comes before the
neighbours, of which more are then right, and is learned with them. It is not applied again to what
the student gives: twice, it costs classes without labels what it gives to those with some.
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
from fgembed.training.labels.label_groups import LabelGroups


@dataclass(frozen=True)
class LabelledTargets:
    """Which images have targets, and the labels of some.

    Attributes:
        paths: the training images, then labelled ones that are not among them.
        numbers: (N) of their groups, -1 for an image without a label; None without labels.
    """

    paths: list[Path]
    numbers: Tensor | None

    @classmethod
    def of(cls, labels: LabelGroups | None, paths: Sequence[Path]) -> Self:
        """Of training images and a run's labels."""
        if labels is None:
            return cls(list(paths), None)
        numbers, others = labels.numbers_of(paths)
        numbers += labels.numbers_of(others)[0]
        return cls([*paths, *others], torch.tensor(numbers))

    def by_labels(self, targets: Tensor) -> Tensor:
        """The targets (N, D) by the label layer, of unit length; without labels as they are.

        Args:
            targets: of `paths`, unit length; zeros, which stay, for an image that cannot be read.
        """
        if self.numbers is None:
            return targets
        readable = targets.any(dim=1)
        labelled = readable & (self.numbers >= 0)
        numbers = self.numbers[labelled]
        if not bool((numbers.bincount() > 1).any()):
            return targets
        every = targets[readable]
        sample = every[evenly_spaced(len(every), SAMPLE)]
        layer = label_layer(targets[labelled], numbers, sample)
        return F.normalize(targets @ layer.float(), dim=1)
