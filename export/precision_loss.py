"""What a model in fewer bits loses: recall@1 on labelled images, else agreement of neighbours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fgembed.embedding.array_types import Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import FgembedError
from fgembed.evaluation.protocol import EmbeddedSplit, Split
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class Drop:
    """How much worse a file is than the float32 one.

    Attributes:
        measure: `recall@1`, or `neighbour agreement`: images whose nearest one is the same.
        images: queries that were searched.
        before: of the float32 file, in 0..1.
        after: of the file.

    Example:
        >>> drop = Drop("recall@1", images=2485, before=0.575, after=0.571)
        >>> drop.sentence()
        'recall@1 57.5 -> 57.1 on 2485 images'
        >>> round(drop.points, 3)
        0.4
    """

    measure: str
    images: int
    before: float
    after: float

    @property
    def points(self) -> float:
        """In percent; below zero if the file is better."""
        return 100 * (self.before - self.after)

    def sentence(self) -> str:
        """The drop in one line."""
        return (
            f"{self.measure} {100 * self.before:.1f} -> {100 * self.after:.1f} "
            f"on {self.images} images"
        )

    def to_json(self) -> dict[str, Any]:
        """The drop in `parity.json`."""
        return {
            "measure": self.measure,
            "pictures": self.images,
            "before": self.before,
            "after": self.after,
            "points": self.points,
        }


class Judge(Protocol):
    """Measures files against one float32 file."""

    def __call__(self, file: Path) -> Drop:
        """The drop of a file."""
        ...


class RecallDrop:
    """Recall@1 on labelled images.

    Raises:
        FgembedError: the float32 file's recall is zero.
    """

    def __init__(self, reference: Path, split: Split, spec: Preprocessing) -> None:
        self.split = split
        self.spec = spec
        self.before, self.queries = self._recall(reference)
        if self.before == 0:
            raise FgembedError(
                "no labelled image finds one of its class, so recall@1 cannot fall any further",
                "give labelled images whose classes are in both folders",
            )

    def __call__(self, file: Path) -> Drop:
        """The drop of a file."""
        after, _ = self._recall(file)
        return Drop("recall@1", images=self.queries, before=self.before, after=after)

    def _recall(self, file: Path) -> tuple[float, int]:
        """Recall@1 in 0..1, and the number of queries."""
        embed = OnnxEmbedder(file, self.spec, "cpu", bulk=True)
        recalls = EmbeddedSplit.embed(embed, self.split, max_bad=1.0).scores((1,)).recall[1]
        return float(recalls.mean()), len(recalls)


class AgreementDrop:
    """The share of images that keep their nearest neighbour, among themselves."""

    def __init__(self, reference: Path, pixels: Pixels, spec: Preprocessing) -> None:
        self.pixels = pixels
        self.spec = spec
        self.nearest = self._nearest(reference)

    def __call__(self, file: Path) -> Drop:
        """The drop of a file."""
        agreement = float((self._nearest(file) == self.nearest).mean())
        return Drop("neighbour agreement", len(self.pixels), before=1.0, after=agreement)

    def _nearest(self, file: Path) -> Vectors:
        vectors = OnnxEmbedder(file, self.spec, "cpu").in_batches(self.pixels)
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        nearest: Vectors = scores.argmax(axis=1)
        return nearest
