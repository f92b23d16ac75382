"""Folders of labelled images as an untouched start pools them, so that a fit takes seconds."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgembed.backbones import make_backbone
from fgembed.config import PoolingSettings
from fgembed.cores import core_count
from fgembed.embedding.array_types import Labels, Vectors
from fgembed.evaluation.floors import uncalibrated_start
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.evaluation.metrics import bootstrap_interval, score_queries
from fgembed.images.batches import ImageBatches
from fgembed.images.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from fgembed.model.batch_norm_folding import fold_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.torch_embedder import TorchEmbedder

CPU = torch.device("cpu")
DRAWS = 3
QUERIES = 800  # of a draw, at most
Columns = dict[str, Vectors]  # by row: measures (3, Q)


@dataclass(frozen=True)
class Pooled:
    """Pooled vectors of a folder's images, (N, P), and their labels."""

    plain: Tensor
    mirrored: Tensor
    labels: Labels

    def rows(self, positions: NDArray[np.int64]) -> "Pooled":
        """The images at some positions."""
        return Pooled(self.plain[positions], self.mirrored[positions], self.labels[positions])

    @property
    def both(self) -> Tensor:
        """Averaged over image and mirror image."""
        return (self.plain + self.mirrored) / 2


class SetReader:
    """Reads folders by an untouched start at any side.

    Attributes:
        name: of the backbone.
        start: not fitted.
    """

    def __init__(self, options: argparse.Namespace, side: int) -> None:
        """Takes what `reader_options` parsed; weights are for images of `side` px."""
        self.name: str = options.backbone
        self._kept: Path | None = options.features
        self._spec = Preprocessing(size=side, mean=tuple(options.mean), std=tuple(options.std))
        backbone = make_backbone(options.backbone, size=side, weights=options.weights)
        self.start = uncalibrated_start(backbone, PoolingSettings()).eval()

    def read(self, folder: Path, side: int) -> Pooled:
        """The folder's pooled vectors, from the kept ones if there are any."""
        spec = Preprocessing(size=side, mean=self._spec.mean, std=self._spec.std)
        file = self._file(folder, spec)
        if file is None or not file.exists():
            found = pooled(self.start, folder, spec)
            if file is not None:
                plain, mirrored = found.plain.numpy(), found.mirrored.numpy()
                np.savez(file, a=plain, b=mirrored, y=found.labels)
            return found
        stored = np.load(file)
        return Pooled(torch.from_numpy(stored["a"]), torch.from_numpy(stored["b"]), stored["y"])

    def _file(self, folder: Path, spec: Preprocessing) -> Path | None:
        if self._kept is None:
            return None
        is_default = spec == Preprocessing(size=spec.size)
        other = "" if is_default else f"-{spec.digest()[:8]}"
        name = f"{self.name.replace('/', '-')}-{folder.parent.name}-{folder.name}"
        return self._kept / f"{name}-{spec.size}{other}.npz"


def pooled(encoder: Encoder, folder: Path, spec: Preprocessing) -> Pooled:
    """An encoder's pooled vectors of a folder."""
    images = LabelledImages.find(folder)
    folded = fold_encoder(encoder, spec.size)
    normalised = TorchEmbedder(folded, spec, CPU).normalised
    parts, positions = [], []
    with torch.inference_mode():
        for batch, pixels in ImageBatches(images.paths, spec, 32, core_count()):
            positions += batch
            output = normalised(pixels)
            views = (output, output.flip(3))
            reads = [folded.backbone.read_levels(v, folded.reading.depths) for v in views]
            parts.append([folded.pool(read) for read in reads])
    plain, mirrored = (torch.cat(part) for part in zip(*parts, strict=True))
    labels = images.labels_of([images.paths[position] for position in positions])
    return Pooled(plain, mirrored, labels)


def reader_options(description: str | None) -> argparse.ArgumentParser:
    """The options that say which backbone is read, and where its vectors are kept."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--mean", type=float, nargs=3, default=IMAGENET_MEAN)
    parser.add_argument("--std", type=float, nargs=3, default=IMAGENET_STD)
    parser.add_argument("--features", type=Path)
    return parser


def answerable(queries: Pooled, labels: Labels, seed: int) -> NDArray[np.int64]:
    """Positions of at most 800 of the queries that have an answer among some labels."""
    answered = np.flatnonzero(np.isin(queries.labels, labels))
    return np.random.default_rng(seed).permutation(answered)[:QUERIES]


def measures(items: Tensor, labels: Labels, searched: Tensor, asked: Labels) -> Vectors:
    """(3, Q): recall@1, precision@10 and AP of queries, in percent."""
    scored = score_queries(searched.numpy(), asked, items.numpy(), labels)
    return 100 * np.stack([scored.recall[1], scored.precision_at_10, scored.average_precision])


def drawn_columns(
    everything: int, counts: Sequence[int], score: Callable[[NDArray[np.int64], int], Columns]
) -> dict[str, Columns]:
    """By count what `score` gives for positions and a seed: three draws of each, all once."""
    columns = {}
    for count in [*(n for n in counts if n < everything), everything]:
        draws = [
            score(np.random.default_rng(seed).permutation(everything)[:count], seed)
            for seed in range(DRAWS if count < everything else 1)
        ]
        columns[f"N = {count}"] = {name: np.hstack([d[name] for d in draws]) for name in draws[0]}
    return columns


def table(columns: Mapping[str, Columns]) -> str:
    """Markdown: readings by counts; recall@1 / precision@10 / mAP; below the first as differences.

    A star marks a difference whose 95 % interval, paired over queries, lies below zero.
    """
    lines = ["| reading | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    names = list(next(iter(columns.values())))
    for name in names:
        is_first = name == names[0]
        cells = []
        for found in columns.values():
            values = found[name] if is_first else found[name] - found[names[0]]
            sign = "" if is_first else "+"
            worse = ["*" if bootstrap_interval(each)[1] < 0 else "" for each in values]
            texts = [f"{v.mean():{sign}.1f}{w}" for v, w in zip(values, worse, strict=True)]
            cells.append(" / ".join(texts))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
