"""Images in class folders."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fgembed.embedding.array_types import Labels
from fgembed.images.finding import class_names, scan
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.skipped import Skipped


@dataclass(frozen=True)
class LabelledImages:
    """Images in class folders below `root`; `skipped` could not be opened or are not read."""

    root: Path
    paths: list[Path]
    labels: dict[Path, str]
    skipped: list[Skipped]
    passed_over: PassedOver = field(default_factory=PassedOver)

    @classmethod
    def find(cls, root: Path, include_clutter: bool = False) -> "LabelledImages":
        """Every image below `root`, labelled by its class folder.

        Raises:
            FgembedError: the folder is missing or empty, or an image is in no class folder.
        """
        images = scan(root, include_clutter)
        labels = dict(zip(images.paths, class_names(images.paths, root), strict=True))
        return cls(root, images.paths, labels, images.skipped, images.passed_over)

    def labels_of(self, paths: Sequence[Path]) -> Labels:
        """(N,) class names."""
        return np.array([self.labels[path] for path in paths])
