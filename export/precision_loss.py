"""What a model in fewer bits loses: recall@1 on labelled pictures, else agreement of neighbours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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
        measure: `recall@1`, or `neighbour agreement`: pictures whose nearest one is the same.
        pictures: looked up.
        before: of the float32 file, in 0..1.
        after: of the file.
    """

    measure: str
    pictures: int
    before: float
    after: float

    @property
    def points(self) -> float:
        """In percent; below zero where the file is better."""
        return 100 * (self.before - self.after)

    def sentence(self) -> str:
        """`recall@1 57.5 -> 57.1 on 2485 pictures`."""
        return (
            f"{self.measure} {100 * self.before:.1f} -> {100 * self.after:.1f} "
            f"on {self.pictures} pictures"
        )


class Judge(Protocol):
    """Measures files against one float32 file."""

    def __call__(self, file: Path) -> Drop:
        """The drop of a file."""
        ...


class RecallDrop:
    """Recall@1 on labelled pictures.

    Raises:
        FgembedError: it is zero already.
    """

    def __init__(self, reference: Path, split: Split, spec: Preprocessing) -> None:
        self.split = split
        self.spec = spec
        self.before, self.queries = self._recall(reference)
        if self.before == 0:
            raise FgembedError(
                "no labelled picture finds one of its class, so that nothing can be told from "
                "recall@1",
                "give labelled pictures whose classes are in both folders",
            )

    def __call__(self, file: Path) -> Drop:
        """The drop of a file."""
        return Drop("recall@1", self.queries, self.before, self._recall(file)[0])

    def _recall(self, file: Path) -> tuple[float, int]:
        embed = OnnxEmbedder(file, self.spec, "cpu", bulk=True)
        found = EmbeddedSplit.embed(embed, self.split, max_bad=1.0).scores((1,)).recall[1]
        return float(found.mean()), len(found)


class AgreementDrop:
    """Whether pictures keep their nearest neighbour, among themselves."""

    def __init__(self, reference: Path, pixels: Pixels, spec: Preprocessing) -> None:
        self.pixels = pixels
        self.spec = spec
        self.nearest = self._nearest(reference)

    def __call__(self, file: Path) -> Drop:
        """The drop of a file."""
        agreement = float((self._nearest(file) == self.nearest).mean())
        return Drop("neighbour agreement", len(self.pixels), 1.0, agreement)

    def _nearest(self, file: Path) -> Vectors:
        vectors = OnnxEmbedder(file, self.spec, "cpu").in_batches(self.pixels)
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        nearest: Vectors = scores.argmax(axis=1)
        return nearest
