"""Linear probes as columns of the floor table, each by the protocol of its paper.

A probe trains on the gallery and is scored on the queries after the last epoch; the released
codes print the best epoch on the test images instead. The published probes see new random views
in every epoch, so every image must be embedded in every epoch: `views` turns that on.
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
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.embedding.bulk import Embedded, embed_paths
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
    """A linear probe as a measure of the floor table, optionally also with few labels.

    Example:
        >>> Probe("papn").note.partition(": ")[0]
        'papn probe'
    """

    def __init__(self, name: str, few_labels: bool = False, views: int = 0) -> None:
        """A probe by name.

        Args:
            name: of `PROBES`.
            few_labels: also train on 20 and 50 % of the gallery; the mean of three draws counts.
            views: random views of each image, one for each epoch in turn; 0 for the plain
                image, 100 as published.

        Raises:
            ConfigError: no probe has this name.
        """
        if name not in PROBES:
            raise ConfigError(f"no probe {name!r}", nearest(name, PROBES))
        self.name = name
        self.recipe = PROBES[name]
        self.shares = SHARES if few_labels else ()
        self.views = min(views, EPOCHS)
        inputs = (
            f"{self.views} random views an image" if views else "plain images (published: views)"
        )
        self.note = f"{name} probe: {self.recipe.summary()}; trained on the gallery, {inputs}"
        if few_labels:
            self.note += f"; with few labels, a share of each class, the mean of {DRAWS} draws"

    def check(self, embed: Embed, leave_one_out: bool) -> None:
        """Refuses leave-one-out, and an embedder that lacks the inputs of the probe.

        Raises:
            ConfigError: the probe cannot train on this.
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
        classes, targets = np.unique(embedded_split.gallery_labels, return_inverse=True)
        position = {name: index for index, name in enumerate(classes)}
        truth = torch.tensor([position.get(label, -1) for label in embedded_split.query_labels])
        queries = self._inputs(embedded_split, embedded_split.queries)
        samples = self._samples(targets)
        probes = [
            LinearProbe(self.recipe, queries.shape[1], len(classes), seed)
            for seed in range(len(samples))
        ]
        passes = zip(range(EPOCHS), self._passes(embedded_split), strict=False)
        for epoch, vectors in passes:
            for probe, sample in zip(probes, samples, strict=True):
                probe.train_epoch(vectors, torch.from_numpy(targets), sample, epoch)
        values = {
            f"{self.name} probe top-{k}": probes[0].correct(queries, truth, k) for k in (1, 5)
        }
        for number, share in enumerate(self.shares):
            draws = probes[1 + DRAWS * number :][:DRAWS]
            correct = [probe.correct(queries, truth, 1) for probe in draws]
            values[f"{self.name} {100 * share:.0f} % labels"] = np.mean(correct, axis=0)
        return values

    def _samples(self, targets: Ids) -> list[Tensor]:
        """The rows that each probe trains on: all of them, then the draws of each share."""
        draws = [stratified(targets, share, seed) for share in self.shares for seed in range(DRAWS)]
        return [torch.from_numpy(rows) for rows in [np.arange(len(targets)), *draws]]

    def _passes(self, embedded_split: EmbeddedSplit) -> Iterator[Tensor]:
        """The gallery's vectors (N, D) for each epoch, without end."""
        gallery = embedded_split.gallery
        if not self.views:
            yield from cycle([self._inputs(embedded_split, gallery)])
        cached = []
        embedder, raw = embedded_split.embedder, self.recipe.raw
        for vectors in _view_passes(embedder, gallery.paths, self.views, raw):
            if self.views < EPOCHS:  # otherwise each is used once, and they are large
                cached.append(vectors)
            yield vectors
        yield from cycle(cached)

    def _inputs(self, embedded_split: EmbeddedSplit, side: Embedded) -> Tensor:
        """The vectors of the queries or the gallery as the probe reads them."""
        vectors = side.vectors
        if self.recipe.raw:
            embed = embedded_split.embedder
            assert isinstance(embed, TorchEmbedder)
            vectors = embed_paths(embed.summaries, side.paths, embed.spec).vectors
        return torch.from_numpy(np.asarray(vectors, np.float32))


class ProbeView:
    """A view maker: a random crop of 8 to 100 % of the area and a flip, (size, size, 3) uint8."""

    def __init__(self, spec: Preprocessing) -> None:
        crop = v2.RandomResizedCrop(spec.size, scale=(0.08, 1.0))
        self.transform = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.PILToTensor()])

    def __call__(self, image: Image.Image) -> list[Tensor]:
        """One random view of the image."""
        return [self.transform(image).permute(1, 2, 0)]


def _view_passes(embed: Embed, paths: Sequence[Path], views: int, raw: bool) -> Iterator[Tensor]:
    """The vectors (N, D) of a new random view of every image, `views` times."""
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
