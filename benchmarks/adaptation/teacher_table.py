"""The teacher of `method distill` by itself: the untouched start at one or several sizes.

    python -m benchmarks.adaptation.teacher_table SET/train SET/test \
        --backbone torchvision/mobilenet_v2 --weights FILE [--mean R G B --std R G B] \
        [--sides 160 224 288] [--features FOLDER]

Each side is fitted on the gallery apart, image and mirror image averaged; of several sides the
cosines are averaged. recall@1 / precision@10 / mAP, in percent. `--features` as in `reading_table`.
"""

import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from benchmarks.adaptation.pooled_sets import SetReader, reader_options
from fgembed.embedding.array_types import Labels, Vectors
from fgembed.evaluation.metrics import score_queries
from fgembed.model.calibration import fit_encoder
from fgembed.model.reading.fitting import FitSettings


def row(
    gallery: Sequence[Vectors], queries: Sequence[Vectors], labels: tuple[Labels, Labels]
) -> str:
    """The three measures, of the unit vectors of each side."""
    # As many sides in each, so that the length is the same for all.
    items, searched = (np.concatenate(v, axis=1) / len(v) ** 0.5 for v in (gallery, queries))
    scored = score_queries(searched, labels[1], items, labels[0])
    measures = (scored.recall[1], scored.precision_at_10, scored.average_precision)
    return " / ".join(f"{100 * values.mean():.1f}" for values in measures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a row for every choice of the sides."""
    parser = reader_options(__doc__)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[160, 224, 288])
    options = parser.parse_args(arguments)
    reader = SetReader(options, options.sides[0])
    found = {}
    for side in options.sides:
        read = [reader.read(folder, side) for folder in (options.gallery, options.queries)]
        gallery, queries = read
        fit_encoder(reader.start, gallery.both, FitSettings(), None)
        with torch.no_grad():
            found[side] = [reader.start.finish(part.both).numpy() for part in read]
        labels = gallery.labels, queries.labels
    sys.stdout.write(f"{options.backbone}, {options.gallery}\n\n| sides, px | |\n|---|---|\n")
    for count in range(1, len(found) + 1):
        for sides in combinations(found, count):
            parts = [found[side] for side in sides]
            scores = row([part[0] for part in parts], [part[1] for part in parts], labels)
            sys.stdout.write(f"| {', '.join(map(str, sides))} | {scores} |\n")


if __name__ == "__main__":
    main()
