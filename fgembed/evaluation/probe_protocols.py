"""Linear probes as columns of the floor table, by each paper's own protocol.

The gallery's pictures train it and the queries score it, after the last epoch; the released
codes print the best epoch on the test pictures instead. Published probes see augmented views,
which means embedding every picture anew for every epoch: that is asked for by `views`.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from fgembed.cores import core_count
from fgembed.data.loading import TrainingImages, make_loader
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import embed_paths
from fgembed.errors import ConfigError
from fgembed.evaluation.linear_probe import EPOCHS, PROBES, LinearProbe, stratified
from fgembed.evaluation.protocol import Embed, EmbeddedSplit
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.text import nearest

SHARES = (0.2, 0.5)
DRAWS = 3
EMBEDDED_AT_ONCE = 64


class Probe:
    """One protocol as a measure of the floor table, with few labels too where asked for."""

    def __init__(self, name: str, few_labels: bool = False, views: int = 0) -> None:
        """A probe by name.

        Args:
            name: of `PROBES`.
            few_labels: also train on 20 and 50 % of the gallery, the mean of three draws.
            views: random views of each picture that the epochs go through in turn; 0 for the
                plain picture, 100 as published.

        Raises:
            ConfigError: there is no such probe.
        """
        if name not in PROBES:
            raise ConfigError(f"no probe {name!r}", nearest(name, PROBES))
        self.name = name
        self.recipe = PROBES[name]
        self.shares = SHARES if few_labels else ()
        self.views = min(views, EPOCHS)
        seen = (
            f"{self.views} random views a picture" if views else "plain pictures (published: views)"
        )
        self.note = f"{name} probe: {self.recipe.words()}; trained on the gallery, {seen}"
        if few_labels:
            self.note += f"; with few labels, a share of each class, the mean of {DRAWS} draws"

    def check(self, embed: Embed, leave_one_out: bool) -> None:
        """Refuses what has no training pictures, or no raw summary.

        Raises:
            ConfigError: saying which.
        """
        if leave_one_out:
            raise ConfigError(
                "a probe is trained on the gallery and scored on the queries, and in "
                "leave-one-out they are the same",
                "give a --gallery and --queries that differ",
            )
        if self.recipe.raw and not isinstance(embed, TorchEmbedder):
            raise ConfigError(
                f"the {self.name} probe reads the backbone's raw summary, and a bundle gives only "
                "its unit vectors",
                "evaluate the run instead",
            )

    def __call__(self, embedded_split: EmbeddedSplit) -> dict[str, Vectors]:
        """Top-1 and top-5 correctness, and top-1 with few labels."""
        classes, inverse = np.unique(embedded_split.gallery_labels, return_inverse=True)
        targets = torch.from_numpy(inverse)
        position = {name: index for index, name in enumerate(classes)}
        truth = torch.tensor([position.get(label, -1) for label in embedded_split.query_labels])
        queries = self._plain(
            embedded_split, embedded_split.queries.paths, embedded_split.queries.vectors
        )
        parts = [torch.arange(len(targets))]
        for share in self.shares:
            draws = [stratified(inverse, share, seed) for seed in range(DRAWS)]
            parts += [torch.from_numpy(draw) for draw in draws]
        probes = [
            LinearProbe(self.recipe, queries.shape[1], len(classes), seed)
            for seed in range(len(parts))
        ]
        for epoch, vectors in zip(range(EPOCHS), self._passes(embedded_split), strict=False):
            for probe, chosen in zip(probes, parts, strict=True):
                probe.train_epoch(vectors, targets, chosen, epoch)
        values = {
            f"{self.name} probe top-{k}": probes[0].correct(queries, truth, k) for k in (1, 5)
        }
        for number, share in enumerate(self.shares):
            drawn = probes[1 + DRAWS * number :][:DRAWS]
            right = [probe.correct(queries, truth, 1) for probe in drawn]
            values[f"{self.name} {100 * share:.0f} % labels"] = np.mean(right, axis=0)
        return values

    def _passes(self, embedded_split: EmbeddedSplit) -> Iterator[Tensor]:
        """The gallery's vectors (N, D), one tensor an epoch, without end."""
        gallery = embedded_split.gallery
        if not self.views:
            yield from cycle([self._plain(embedded_split, gallery.paths, gallery.vectors)])
        kept = []
        for vectors in _view_passes(
            embedded_split.embedder, gallery.paths, self.views, self.recipe.raw
        ):
            if self.views < EPOCHS:  # else none is needed twice, and they are large
                kept.append(vectors)
            yield vectors
        yield from cycle(kept)

    def _plain(
        self, embedded_split: EmbeddedSplit, paths: Sequence[Path], vectors: Vectors
    ) -> Tensor:
        if self.recipe.raw:
            embed = embedded_split.embedder
            assert isinstance(embed, TorchEmbedder)
            vectors = embed_paths(embed.summaries, paths, embed.spec).vectors
        return torch.from_numpy(np.asarray(vectors, np.float32))


class ProbeView:
    """RandomResizedCrop of 8 to 100 % of the area and a flip, as (size, size, 3) uint8."""

    def __init__(self, spec: Preprocessing) -> None:
        crop = v2.RandomResizedCrop(spec.size, scale=(0.08, 1.0))
        self.transform = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.PILToTensor()])

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """One view."""
        return [self.transform(image).permute(1, 2, 0)]


def _view_passes(embed: Embed, paths: Sequence[Path], views: int, raw: bool) -> Iterator[Tensor]:
    """`views` times the vectors (N, D) of a new random view of every picture."""
    images = TrainingImages(paths, ProbeView(embed.spec), embed.spec, seed=0)
    starts = range(0, len(paths), EMBEDDED_AT_ONCE)
    keys = [
        [(number, i) for i in range(first, min(first + EMBEDDED_AT_ONCE, len(paths)))]
        for number in range(views)
        for first in starts
    ]
    read = embed.summaries if raw and isinstance(embed, TorchEmbedder) else embed.vectors
    collected = []
    for (pixels,) in make_loader(images, keys, core_count()):
        collected.append(torch.from_numpy(read(pixels.numpy())))
        if len(collected) == len(starts):
            yield torch.cat(collected)
            collected = []
