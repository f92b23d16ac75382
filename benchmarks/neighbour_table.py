"""Neighbours in the targets of `method distill`, before any training: what a last layer learns.

    python -m benchmarks.neighbour_table SET/train SET/test --backbone torchvision/mobilenet_v2 \
        --weights FILE [--sides 160 224 288] [--counts 50 200 500 1000] [--features FOLDER]

For each draw of the gallery, as `reading_table` makes them, the fitted reading at the first side,
then regressions from that side to the vectors of all sides: without neighbours, with one for each
200 images, and with ten whatever the count. Rows below the first show their difference from it.
Printed last: the share of images whose nearest other one is of their class, and the same among
pairs that are each other's nearest.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.reading_table import (
    Columns,
    Pooled,
    answerable,
    backbone_options,
    drawn_columns,
    kept_file,
    measures,
    pooled,
    table,
)
from fgembed.backbones import make_backbone
from fgembed.config import PoolingSettings
from fgembed.embedding.array_types import Labels
from fgembed.evaluation.floors import uncalibrated_start
from fgembed.model.calibration import fit_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.neighbourhood import averaged, with_neighbours
from fgembed.model.reading.whitening import Spectrum

MOST = 10


def teacher(start: Encoder, sides: Sequence[Pooled]) -> Tensor:
    """The gallery's unit vectors (N, D) by the start at all sides, each fitted apart."""
    parts = []
    for side in sides:
        fit_encoder(start, side.both, FitSettings(), None)
        parts.append(start.finish(side.both))
    both = torch.cat(parts, dim=1)
    spectrum = Spectrum.of(both, FitSettings().dimensions)
    return F.normalize((both - spectrum.mean.float()) @ spectrum.directions.float(), dim=1)


def layers(
    start: Encoder, sides: Sequence[Pooled], targets: Tensor, queries: Pooled
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, gallery and query vectors of every last layer of the first side."""
    own = sides[0].both
    regression = FitSettings().to_targets()
    for name, settings, larger, learned in (
        ("fitted reading", FitSettings(), sides[1].both, None),
        ("all sides predicted", regression, None, targets),
        ("**with neighbours**", regression, None, with_neighbours(targets, MOST)),
        ("with ten neighbours at any N", regression, None, averaged(targets, MOST)),
    ):
        fit_encoder(start, own, settings, larger, learned)
        yield name, start.finish(own), start.finish(queries.both)


def right_neighbours(targets: Tensor, labels: Labels) -> tuple[float, float]:
    """The share of nearest images of the same class: of all, and of mutual ones, in percent."""
    similarities = (targets @ targets.T).fill_diagonal_(-2)
    nearest = similarities.argmax(dim=1).numpy()
    right = labels[nearest] == labels
    mutual = nearest[nearest] == np.arange(len(nearest))
    return 100 * float(right.mean()), 100 * float(right[mutual].mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of one set and backbone."""
    parser = backbone_options(__doc__)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[160, 224, 288])
    parser.add_argument("--counts", type=int, nargs="*", default=[50, 200, 500, 1000])
    options = parser.parse_args(arguments)
    own = options.sides[0]
    backbone = make_backbone(options.backbone, size=own, weights=options.weights)
    start = uncalibrated_start(backbone, PoolingSettings()).eval()

    def of(folder: Path, side: int) -> Pooled:
        return pooled(start, folder, side, kept_file(options, folder, side))

    gallery, queries = (
        [of(options.gallery, side) for side in options.sides],
        of(options.queries, own),
    )
    shares: dict[int, list[tuple[float, float]]] = {}

    def score(drawn: NDArray[np.int64], seed: int) -> Columns:
        sides = [side.rows(drawn) for side in gallery]
        labels = sides[0].labels
        asked = answerable(queries, labels, seed)
        with torch.no_grad():
            targets = teacher(start, sides)
            shares.setdefault(len(drawn), []).append(right_neighbours(targets, labels))
            return {
                name: measures(items, labels, searched, asked.labels)
                for name, items, searched in layers(start, sides, targets, asked)
            }

    columns = drawn_columns(len(gallery[0].labels), options.counts, score)
    sys.stdout.write(f"{options.backbone}, {options.gallery}, {options.sides} px\n\n")
    sys.stdout.write(table(columns) + "\n")
    cells = ["{:.0f} / {:.0f}".format(*np.mean(each, axis=0)) for each in shares.values()]
    sys.stdout.write(f"| nearest right / mutual right, % | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
