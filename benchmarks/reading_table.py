"""Readings of an untouched backbone on a labelled set and on small draws of it.

    python -m benchmarks.reading_table SET/train SET/test --backbone torchvision/mobilenet_v2 \
        --weights FILE [--size 160] [--counts 50 100 200 500 1000] [--features FOLDER]

For each count three draws of the gallery are fitted and searched by the queries whose class the
draw holds, at most 800. Every row below the first shows its difference from it, with a star where
the 95 % interval, paired over queries, lies below zero. `--features` keeps the pooled vectors, so
that another fit takes seconds.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
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
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.batch_norm_folding import fold_encoder
from fgembed.model.calibration import fit_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.torch_embedder import TorchEmbedder

CPU = torch.device("cpu")
DRAWS = 3
QUERIES = 800  # of a draw, at most
MEAN = "mean pooling + mirror"
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


def backbone_options(description: str | None) -> argparse.ArgumentParser:
    """The options that say which backbone is read, and where its vectors are kept."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", default="torchvision/mobilenet_v2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--features", type=Path)
    return parser


def kept_file(options: argparse.Namespace, folder: Path, side: int) -> Path | None:
    """Where a folder's pooled vectors are kept; None if they are not."""
    if options.features is None:
        return None
    backbone = options.backbone.replace("/", "-")
    kept: Path = options.features
    return kept / f"{backbone}-{folder.parent.name}-{folder.name}-{side}.npz"


def pooled(start: Encoder, folder: Path, side: int, kept: Path | None) -> Pooled:
    """The start's pooled vectors of a folder at a side, read from `kept` if that exists."""
    if kept is not None and kept.exists():
        stored = np.load(kept)
        plain, mirrored = torch.from_numpy(stored["a"]), torch.from_numpy(stored["b"])
        return Pooled(plain, mirrored, stored["y"])
    images = LabelledImages.find(folder)
    spec = Preprocessing(size=side)
    encoder = fold_encoder(start, side)
    normalised = TorchEmbedder(encoder, spec, CPU).normalised
    parts, positions = [], []
    with torch.inference_mode():
        for batch, pixels in ImageBatches(images.paths, spec, 32, core_count()):
            positions += batch
            output = normalised(pixels)
            views = (output, output.flip(3))
            reads = [encoder.backbone.read_levels(v, encoder.reading.depths) for v in views]
            parts.append([encoder.pool(read) for read in reads])
    plain, mirrored = (torch.cat(part) for part in zip(*parts, strict=True))
    labels = images.labels_of([images.paths[position] for position in positions])
    if kept is not None:
        np.savez(kept, a=plain.numpy(), b=mirrored.numpy(), y=labels)
    return Pooled(plain, mirrored, labels)


def readings(
    start: Encoder, gallery: Pooled, larger: Pooled, queries: Pooled
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, gallery and query vectors of every reading, fitted on the gallery."""
    channels = start.backbone.channels
    last = [F.normalize(side.both[:, -channels:], dim=1) for side in (gallery, queries)]
    yield MEAN, last[0], last[1]
    earlier = FitSettings(shrinkage=1, mean_weight=0)
    for name, settings, target, mirror in (
        ("levels whitened alone, shrinkage 1, + mirror", earlier, None, True),
        ("fitted without a larger size + mirror", FitSettings(), None, True),
        ("**fitted reading**, no mirror", FitSettings(), larger, False),
        ("**fitted reading** + mirror", FitSettings(), larger, True),
    ):
        sides = [side.both if mirror else side.plain for side in (gallery, queries)]
        fit_encoder(start, sides[0], settings, None if target is None else target.both)
        yield name, start.finish(sides[0]), start.finish(sides[1])


def scores(start: Encoder, gallery: Pooled, larger: Pooled, queries: Pooled, seed: int) -> Columns:
    """By reading (3, Q): recall@1, precision@10 and AP, in percent, of queries with an answer."""
    asked = answerable(queries, gallery.labels, seed)
    return {
        name: measures(items, gallery.labels, searched, asked.labels)
        for name, items, searched in readings(start, gallery, larger, asked)
    }


def answerable(queries: Pooled, labels: Labels, seed: int) -> Pooled:
    """At most 800 of the queries that have an answer among some labels."""
    answered = np.flatnonzero(np.isin(queries.labels, labels))
    return queries.rows(np.random.default_rng(seed).permutation(answered)[:QUERIES])


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of one set and backbone."""
    parser = backbone_options(__doc__)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--counts", type=int, nargs="*", default=[50, 100, 200, 500, 1000])
    options = parser.parse_args(arguments)
    backbone = make_backbone(options.backbone, size=options.size, weights=options.weights)
    start = uncalibrated_start(backbone, PoolingSettings()).eval()

    def of(folder: Path, side: int) -> Pooled:
        return pooled(start, folder, side, kept_file(options, folder, side))

    gallery, queries = of(options.gallery, options.size), of(options.queries, options.size)
    side = FitSettings().larger_side(options.size)
    larger = of(options.gallery, side)

    def score(drawn: NDArray[np.int64], seed: int) -> Columns:
        return scores(start, gallery.rows(drawn), larger.rows(drawn), queries, seed)

    columns = drawn_columns(len(gallery.labels), options.counts, score)
    sys.stdout.write(f"{options.backbone}, {options.gallery}, {options.size} px\n\n")
    sys.stdout.write(table(columns) + "\n")


if __name__ == "__main__":
    main()
