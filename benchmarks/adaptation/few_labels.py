"""What a few labels add to the fitted reading, on classes that have labels and on others.

    python -m benchmarks.adaptation.few_labels SET [SET ...] --backbone torchvision/mobilenet_v2 \
        --weights FILE [--mean R G B --std R G B] [--size 160] [--counts 2 5 10] [--features FOLDER]

A SET holds `train` and `test`. In each of three draws half of the classes, and of each some images
of `train` (last, all of them), are labelled. All of `train` is the gallery; at most 400 queries are
of labelled classes, and as many of the others. A star marks a figure whose 95 % interval of the
difference from 0 labels, paired over queries, lies below zero. `--features` keeps the pooled
vectors, as in `reading_table`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.adaptation.pooled_sets import Pooled, SetReader, reader_options
from fgembed.embedding.array_types import Labels, Vectors
from fgembed.evaluation.metrics import bootstrap_interval, score_queries
from fgembed.model.calibration import fit_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.label_whitening import label_layer

DRAWS = 3
QUERIES = 400  # of a draw, at most, of labelled classes and of the others
PARTS = ("labelled", "never labelled")
Positions = NDArray[np.int64]


def drawn(labels: Labels, count: int | None, seed: int) -> Positions:
    """Positions of `count` images of each of half of the classes; all of them if None."""
    random = np.random.default_rng(seed)
    classes = np.unique(labels)
    chosen = random.permutation(classes)[: len(classes) // 2]
    return np.concatenate(
        [random.permutation(np.flatnonzero(labels == name))[:count] for name in chosen]
    )


def scores(
    gallery: tuple[Tensor, Labels], queries: tuple[Tensor, Labels], layer: Tensor
) -> Vectors:
    """recall@1, precision@10 and AP, in percent, (3, Q)."""
    items, searched = (
        F.normalize(vectors.double() @ layer, dim=1).float().numpy()
        for vectors, _ in (gallery, queries)
    )
    scored = score_queries(searched, queries[1], items, gallery[1])
    return 100 * np.stack((scored.recall[1], scored.precision_at_10, scored.average_precision))


def rows(
    gallery: tuple[Tensor, Labels], queries: tuple[Tensor, Labels], counts: Sequence[int | None]
) -> dict[str, dict[str, list[Vectors]]]:
    """By row and part the scores of each draw; the first row is without labels."""
    vectors, labels = gallery
    untouched = torch.eye(vectors.shape[1], dtype=torch.float64)
    table: dict[str, dict[str, list[Vectors]]] = {}
    for seed in range(DRAWS):
        has_labels = np.isin(queries[1], np.unique(labels[drawn(labels, 1, seed)]))
        for part, mask in zip(PARTS, (has_labels, ~has_labels), strict=True):
            asked = np.random.default_rng(7).permutation(np.flatnonzero(mask))[:QUERIES]
            searched = queries[0][asked], queries[1][asked]
            table.setdefault("0", {}).setdefault(part, []).append(
                scores(gallery, searched, untouched)
            )
            for count in counts:
                positions = drawn(labels, count, seed)
                numbers = np.unique(labels[positions], return_inverse=True)[1]
                layer = label_layer(vectors[positions], torch.from_numpy(numbers), vectors)
                row = table.setdefault("all" if count is None else str(count), {})
                row.setdefault(part, []).append(scores(gallery, searched, layer))
    return table


def lines(name: str, table: dict[str, dict[str, list[Vectors]]]) -> list[str]:
    """Rows of the markdown table."""
    printed = []
    for row, parts in table.items():
        cells = []
        for part in PARTS:
            values, base = np.hstack(parts[part]), np.hstack(table["0"][part])
            worse = ["*" if bootstrap_interval(d)[1] < 0 else "" for d in values - base]
            cells.append(
                " / ".join(f"{v.mean():.1f}{w}" for v, w in zip(values, worse, strict=True))
            )
        printed.append(f"| {name} | {row} | {' | '.join(cells)} |")
    return printed


def measured(
    start: Encoder, sides: Sequence[Pooled], counts: Sequence[int | None]
) -> dict[str, dict[str, list[Vectors]]]:
    """The rows of one set: its gallery, the same at the larger size, and its queries."""
    gallery, larger, queries = sides
    fit_encoder(start, gallery.both, FitSettings(), larger.both)
    vectors = [start.finish(side.both) for side in (gallery, queries)]
    return rows((vectors[0], gallery.labels), (vectors[1], queries.labels), counts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of some sets and one backbone."""
    parser = reader_options(__doc__)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--counts", type=int, nargs="*", default=[2, 5, 10])
    options = parser.parse_args(arguments)
    reader = SetReader(options, options.size)
    larger = FitSettings().larger_side(options.size)
    sys.stdout.write(f"{options.backbone}, {options.size} px; recall@1 / precision@10 / mAP\n\n")
    sys.stdout.write(f"| set | labels a class | {' | '.join(PARTS)} |\n|---|---|---|---|\n")
    for folder in options.sets:
        parts = (("train", options.size), ("train", larger), ("test", options.size))
        sides = [reader.read(folder / part, side) for part, side in parts]
        found = measured(reader.start, sides, [*options.counts, None])
        sys.stdout.write("\n".join(lines(folder.name, found)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
