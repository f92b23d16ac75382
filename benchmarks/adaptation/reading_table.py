"""Readings of an untouched backbone on a labelled set and on small draws of it.

    python -m benchmarks.adaptation.reading_table SET/train SET/test \
        --backbone torchvision/mobilenet_v2 --weights FILE [--mean R G B --std R G B] \
        [--size 160] [--counts 50 100 200 500 1000] [--features FOLDER]

For each count three draws of the gallery are fitted and searched by the queries whose class the
draw holds, at most 800. Every row below the first shows its difference from it, with a star where
the 95 % interval, paired over queries, lies below zero. `--features` keeps the pooled vectors, so
that another fit takes seconds.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
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
from fgembed.model.calibration import fit_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings

MEAN = "mean pooling + mirror"


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of one set and backbone."""
    parser = reader_options(__doc__)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--counts", type=int, nargs="*", default=[50, 100, 200, 500, 1000])
    options = parser.parse_args(arguments)
    reader = SetReader(options, options.size)
    gallery, queries = (reader.read(of, options.size) for of in (options.gallery, options.queries))
    larger = reader.read(options.gallery, FitSettings().larger_side(options.size))

    def score(drawn: NDArray[np.int64], seed: int) -> Columns:
        items = gallery.rows(drawn)
        asked = queries.rows(answerable(queries, items.labels, seed))
        return {
            name: measures(vectors, items.labels, searched, asked.labels)
            for name, vectors, searched in readings(reader.start, items, larger.rows(drawn), asked)
        }

    columns = drawn_columns(len(gallery.labels), options.counts, score)
    sys.stdout.write(f"{reader.name}, {options.gallery}, {options.size} px\n\n")
    sys.stdout.write(table(columns) + "\n")


if __name__ == "__main__":
    main()
