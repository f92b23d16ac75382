"""What a few labels add to the fitted reading, on classes that have labels and on others.

    python -m benchmarks.adaptation.few_labels SET [SET ...] --backbone torchvision/mobilenet_v2 \
        --weights FILE [--mean R G B --std R G B] [--size 160] [--counts 2 5 10] [--taught] \
        [--features FOLDER]

A SET holds `train` and `test`. In each of three draws half of the classes, and of each some images
of `train` (last, all of them), are labelled. All of `train` is the gallery; at most 400 queries are
of labelled classes, and as many of the others. A star marks a figure whose 95 % interval of the
difference from 0 labels, paired over queries, lies below zero. `--taught` reads as `method distill`
begins, in place of the fitted reading: regression to the start's vectors with neighbours averaged,
in which labels count too. `--features` keeps the pooled vectors, as in `reading_table`.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.adaptation.neighbour_table import MOST, teacher
from benchmarks.adaptation.pooled_sets import Pooled, SetReader, reader_options
from fgembed.embedding.array_types import Labels, Vectors
from fgembed.evaluation.metrics import bootstrap_interval, score_queries
from fgembed.model.calibration import fit_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.label_whitening import label_layer
from fgembed.model.reading.neighbourhood import with_neighbours
from fgembed.training.teachers.labelled import LabelledTargets

DRAWS = 3
QUERIES = 400  # of a draw, at most, of labelled classes and of the others
PARTS = ("labelled", "never labelled")
Positions = NDArray[np.int64]
Read = Callable[[Tensor | None], tuple[Tensor, Tensor]]


def drawn(labels: Labels, count: int | None, seed: int) -> Positions:
    """Positions of `count` images of each of half of the classes; all of them if None."""
    random = np.random.default_rng(seed)
    classes = np.unique(labels)
    chosen = random.permutation(classes)[: len(classes) // 2]
    return np.concatenate(
        [random.permutation(np.flatnonzero(labels == name))[:count] for name in chosen]
    )


def scores(gallery: tuple[Tensor, Labels], queries: tuple[Tensor, Labels]) -> Vectors:
    """recall@1, precision@10 and AP, in percent, (3, Q)."""
    scored = score_queries(queries[0].numpy(), queries[1], gallery[0].numpy(), gallery[1])
    return 100 * np.stack((scored.recall[1], scored.precision_at_10, scored.average_precision))


def rows(
    read: Read, labels: tuple[Labels, Labels], counts: Sequence[int | None]
) -> dict[str, dict[str, list[Vectors]]]:
    """By row and part the scores of each draw; the first row is without labels.

    Args:
        read: gallery and query vectors, given the classes of gallery images or None.
        labels: of gallery and queries.
        counts: of labelled images in a class; None for all.
    """
    of_gallery, of_queries = labels
    table: dict[str, dict[str, list[Vectors]]] = {}
    plain = read(None)
    for seed in range(DRAWS):
        has_labels = np.isin(of_queries, np.unique(of_gallery[drawn(of_gallery, 1, seed)]))
        asked = {
            part: np.random.default_rng(7).permutation(np.flatnonzero(mask))[:QUERIES]
            for part, mask in zip(PARTS, (has_labels, ~has_labels), strict=True)
        }

        _add(table.setdefault("0", {}), asked, labels, plain)
        for count in counts:
            positions = drawn(of_gallery, count, seed)
            numbers = torch.from_numpy(np.unique(of_gallery[positions], return_inverse=True)[1])
            classes = torch.full((len(of_gallery),), -1)
            classes[positions] = numbers
            row = table.setdefault("all" if count is None else str(count), {})
            _add(row, asked, labels, read(classes))
    return table


def _add(
    row: dict[str, list[Vectors]],
    asked: dict[str, Positions],
    labels: tuple[Labels, Labels],
    vectors: tuple[Tensor, Tensor],
) -> None:
    """Adds the scores of a draw to each part of a row."""
    for part, positions in asked.items():
        searched = vectors[1][positions], labels[1][positions]
        row.setdefault(part, []).append(scores((vectors[0], labels[0]), searched))


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


def fitted(start: Encoder, sides: Sequence[Pooled]) -> Read:
    """The fitted reading of a gallery, the same at the larger size, and queries."""
    gallery, larger, queries = sides
    fit_encoder(start, gallery.both, FitSettings(), larger.both)
    vectors = start.finish(gallery.both), start.finish(queries.both)

    def read(classes: Tensor | None) -> tuple[Tensor, Tensor]:
        if classes is None:
            return vectors
        labelled = classes >= 0
        layer = label_layer(vectors[0][labelled], classes[labelled], vectors[0])
        items, searched = (F.normalize(v.double() @ layer, dim=1).float() for v in vectors)
        return items, searched

    return read


def taught(start: Encoder, sides: Sequence[Pooled]) -> Read:
    """The last layer that distillation begins with, of the same."""
    gallery, larger, queries = sides
    targets = teacher(start, [gallery], larger)

    def read(classes: Tensor | None) -> tuple[Tensor, Tensor]:
        learned = with_neighbours(LabelledTargets([], classes).by_labels(targets), MOST)
        fit_encoder(start, gallery.both, FitSettings().to_targets(), None, learned)
        return start.finish(gallery.both), start.finish(queries.both)

    return read


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of some sets and one backbone."""
    parser = reader_options(__doc__)
    parser.add_argument("sets", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--counts", type=int, nargs="*", default=[2, 5, 10])
    parser.add_argument("--taught", action="store_true")
    options = parser.parse_args(arguments)
    reader = SetReader(options, options.size)
    larger = FitSettings().larger_side(options.size)
    sys.stdout.write(f"{options.backbone}, {options.size} px; recall@1 / precision@10 / mAP\n\n")
    sys.stdout.write(f"| set | labels a class | {' | '.join(PARTS)} |\n|---|---|---|---|\n")
    for folder in options.sets:
        parts = (("train", options.size), ("train", larger), ("test", options.size))
        sides = [reader.read(folder / part, side) for part, side in parts]
        with torch.no_grad():
            read = (taught if options.taught else fitted)(reader.start, sides)
            labels = sides[0].labels, sides[2].labels
            found = rows(read, labels, [*options.counts, None])
        sys.stdout.write("\n".join(lines(folder.name, found)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
