"""Neighbours in the targets of `method distill`, before any training: what a last layer learns.

    python -m benchmarks.adaptation.neighbour_table SET/train SET/test \
        --backbone torchvision/mobilenet_v2 --weights FILE [--mean R G B --std R G B] \
        [--sides 160 [224 ...]] [--counts 50 200 500 1000] [--features FOLDER]

The sides are those at which the start teaches, its own first; alone, it is the fitted reading. For
each draw of the gallery, as `reading_table` makes them, the fitted reading, then regressions from
its own side to the teacher: without neighbours, with one for each 200 images, and with ten whatever
the count. Rows below the first show their difference from it. Printed last: the share of images
whose nearest other one is of their class, and the same among pairs that are each other's nearest.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.adaptation.pooled_sets import (
    Columns,
    Pooled,
    SetReader,
    answerable,
    drawn_columns,
    measures,
    reader_options,
    table,
)
from fgembed.embedding.array_types import Labels
from fgembed.model.calibration import fit_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.neighbourhood import averaged, with_neighbours
from fgembed.model.reading.whitening import Spectrum
from fgembed.training.teachers.targets import own_weights

MOST = 10


def teacher(start: Encoder, sides: Sequence[Pooled], larger: Pooled) -> Tensor:
    """The gallery's unit vectors (N, D) by the start at all sides, each fitted apart."""
    parts = []
    for weight, side in zip(own_weights(range(len(sides)), 0), sides, strict=True):
        fit_encoder(start, side.both, FitSettings(), larger.both if len(sides) == 1 else None)
        parts.append(weight**0.5 * start.finish(side.both))
    both = torch.cat(parts, dim=1)
    spectrum = Spectrum.of(both, FitSettings().dimensions)
    return F.normalize((both - spectrum.mean.float()) @ spectrum.directions.float(), dim=1)


def layers(
    start: Encoder, own: Tensor, larger: Tensor, targets: Tensor, queries: Tensor
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, gallery and query vectors of every last layer of the first side."""
    regression = FitSettings().to_targets()
    for name, settings, sized, learned in (
        ("fitted reading", FitSettings(), larger, None),
        ("its teacher predicted", regression, None, targets),
        ("**with neighbours**", regression, None, with_neighbours(targets, MOST)),
        ("with ten neighbours at any N", regression, None, averaged(targets, MOST)),
    ):
        fit_encoder(start, own, settings, sized, learned)
        yield name, start.finish(own), start.finish(queries)


def right_neighbours(targets: Tensor, labels: Labels) -> tuple[float, float]:
    """The share of nearest images of the same class: of all, and of mutual ones, in percent."""
    similarities = (targets @ targets.T).fill_diagonal_(-2)
    nearest = similarities.argmax(dim=1).numpy()
    right = labels[nearest] == labels
    mutual = nearest[nearest] == np.arange(len(nearest))
    return 100 * float(right.mean()), 100 * float(right[mutual].mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of one set and backbone."""
    parser = reader_options(__doc__)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[160])
    parser.add_argument("--counts", type=int, nargs="*", default=[50, 200, 500, 1000])
    options = parser.parse_args(arguments)
    own = options.sides[0]
    reader = SetReader(options, own)
    gallery = [reader.read(options.gallery, side) for side in options.sides]
    larger = reader.read(options.gallery, FitSettings().larger_side(own))
    queries = reader.read(options.queries, own)
    shares: dict[int, list[tuple[float, float]]] = {}

    def score(drawn: NDArray[np.int64], seed: int) -> Columns:
        sides, sized = [side.rows(drawn) for side in gallery], larger.rows(drawn)
        labels = sides[0].labels
        asked = queries.rows(answerable(queries, labels, seed))
        with torch.no_grad():
            targets = teacher(reader.start, sides, sized)
            shares.setdefault(len(drawn), []).append(right_neighbours(targets, labels))
            return {
                name: measures(items, labels, searched, asked.labels)
                for name, items, searched in layers(
                    reader.start, sides[0].both, sized.both, targets, asked.both
                )
            }

    columns = drawn_columns(len(gallery[0].labels), options.counts, score)
    sys.stdout.write(f"{reader.name}, {options.gallery}, {options.sides} px\n\n")
    sys.stdout.write(table(columns) + "\n")
    cells = ["{:.0f} / {:.0f}".format(*np.mean(each, axis=0)) for each in shares.values()]
    sys.stdout.write(f"| nearest right / mutual right, % | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
