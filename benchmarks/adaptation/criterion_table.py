"""Which figure without labels tells better encoders from worse ones, on new photographs.

    python -m benchmarks.adaptation.criterion_table [--sets SET ...] [--runs RUN ...] \
        [--backbone torchvision/mobilenet_v2 --weights FILE --mean R G B --std R G B] \
        [--size 160] [--counts 200] [--features FOLDER] [--cells]

Of each SET, which holds `train` and `test`, other readings of the start are compared with the
fitted one: all fitted on draws of `train`, as `reading_table` makes them, and on all of it. Each
RUN, a finished one with `eval.gallery` and `eval.queries` set, is compared with its fitted start.
A criterion sees vectors of the queries alone; the labels of gallery and queries say what is better.

Printed for each criterion: Spearman's rho of its difference with that of recall@1 and with that of
mAP; how many of the encoders that are worse it puts above (missed), and how many of those that are
better below (refused). Worse: the 95 % interval of one of the three measures, paired over queries,
lies below zero. Better: none does, and one lies above. `--cells` prints every comparison.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.adaptation.criteria import CRITERIA, Seen
from benchmarks.adaptation.neighbour_table import MOST, teacher
from benchmarks.adaptation.pooled_sets import (
    DRAWS,
    Pooled,
    SetReader,
    answerable,
    measures,
    pooled,
    reader_options,
)
from benchmarks.finished_run import Run
from fgembed.config import read_config
from fgembed.embedding.array_types import Vectors
from fgembed.errors import FgembedError
from fgembed.evaluation.metrics import bootstrap_interval
from fgembed.model.calibration import fit_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.encoder_files import load_encoder
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.reading.neighbourhood import averaged, with_neighbours
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class Comparison:
    """An encoder beside the fitted start.

    Attributes:
        name: of the cell and the encoder.
        gains: by the three measures, (3, Q), paired over queries.
        changes: of each criterion, in the order of `CRITERIA`.
    """

    name: str
    gains: Vectors
    changes: list[float]

    @property
    def is_worse(self) -> bool:
        """Whether any of the measures is below the start's."""
        return any(bootstrap_interval(gain)[1] < 0 for gain in self.gains)

    @property
    def is_better(self) -> bool:
        """Whether any of the measures is above the start's, and none below."""
        return not self.is_worse and any(bootstrap_interval(gain)[0] > 0 for gain in self.gains)


def seen_by(
    finish: Callable[[Tensor], Tensor], queries: Pooled, larger: Pooled, mirror: bool = True
) -> Seen:
    """The queries by a last layer; `mirror`: whether a search reads the mirror image as well."""
    searched, enlarged = (side.both if mirror else side.plain for side in (queries, larger))
    vectors = (searched, queries.plain, queries.mirrored, enlarged)
    return Seen(*(finish(each) for each in vectors))


def readings(
    start: Encoder, gallery: Pooled, larger: Pooled
) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Name and last layer of every reading, the fitted one first; each is used before the next."""
    fit_encoder(start, gallery.both, FitSettings(), larger.both)
    yield "fitted", start.finish
    channels = start.backbone.channels
    yield "mean pooling", lambda vectors: F.normalize(vectors[:, -channels:], dim=1)
    for shrinkage in (1.0, 10.0):
        alone = FitSettings(shrinkage=shrinkage, mean_weight=0)
        fit_encoder(start, gallery.both, alone, None)
        yield f"whitened alone, shrinkage {shrinkage:g}", start.finish
    fit_encoder(start, gallery.both, FitSettings(), None)
    yield "fitted without a larger size", start.finish
    targets = teacher(start, [gallery], larger)
    for name, learned in (
        ("with neighbours", with_neighbours(targets, MOST)),
        ("with ten neighbours", averaged(targets, MOST)),
    ):
        fit_encoder(start, gallery.both, FitSettings().to_targets(), None, learned)
        yield name, start.finish


def compared(name: str, first: tuple[Seen, Vectors], other: tuple[Seen, Vectors]) -> Comparison:
    """What an encoder sees and scores beside what the fitted start does."""
    changes = [figure(other[0]) - figure(first[0]) for figure in CRITERIA.values()]
    return Comparison(name, other[1] - first[1], changes)


def of_set(
    reader: SetReader, folder: Path, size: int, counts: Sequence[int]
) -> Iterator[Comparison]:
    """All readings of a set and of draws of it."""
    side = FitSettings().larger_side(size)
    gallery, large = reader.read(folder / "train", size), reader.read(folder / "train", side)
    queries, wide = reader.read(folder / "test", size), reader.read(folder / "test", side)
    everything = len(gallery.labels)
    for count in [*(n for n in counts if n < everything), everything]:
        for seed in range(DRAWS if count < everything else 1):
            drawn = np.random.default_rng(seed).permutation(everything)[:count]
            items = gallery.rows(drawn)
            positions = answerable(queries, items.labels, seed)
            asked, asked_large = queries.rows(positions), wide.rows(positions)
            first = None
            for name, finish in readings(reader.start, items, large.rows(drawn)):
                seen = seen_by(finish, asked, asked_large)
                scored = measures(finish(items.both), items.labels, seen.both, asked.labels)
                if first is None:
                    first = seen, scored
                else:
                    cell = f"{reader.name}, {folder.name}, N = {count}, draw {seed}: {name}"
                    yield compared(cell, first, (seen, scored))


def of_run(folder: Path) -> Comparison:
    """A run beside its fitted start.

    Raises:
        FgembedError: it is not finished, or has no scores.
    """
    Run.read(folder)
    config = read_config(RunFolder(folder).config)
    found: list[tuple[Seen, Vectors]] = []
    for path in (RunFolder(folder).start.path, folder):
        encoder, spec = load_encoder(path)
        larger = replace(spec, size=FitSettings().larger_side(spec.size))
        items, asked = (
            pooled(encoder, Path(of or ""), spec)
            for of in (config.eval.gallery, config.eval.queries)
        )
        wide = pooled(encoder, Path(config.eval.queries or ""), larger)
        with torch.no_grad():
            mirror = encoder.reading.mirror
            seen = seen_by(encoder.finish, asked, wide, mirror)
            vectors = encoder.finish(items.both if mirror else items.plain)
        found.append((seen, measures(vectors, items.labels, seen.both, asked.labels)))
    return compared(f"{config.method.name}: {folder.name}", found[0], found[1])


def rank(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks, those of equal values averaged."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def rho(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's rank correlation."""
    return float(np.corrcoef(rank(one), rank(other))[0, 1])


def table(comparisons: Sequence[Comparison]) -> str:
    """Markdown, a row for each criterion."""
    worse = [c for c in comparisons if c.is_worse]
    better = [c for c in comparisons if c.is_better]
    sides = f"missed of {len(worse)} worse | refused of {len(better)} better"
    lines = [f"| criterion | rho recall@1 | rho mAP | {sides} |", "|---" * 5 + "|"]
    for position, name in enumerate(CRITERIA):
        changes = [c.changes[position] for c in comparisons]
        recall, precision = (
            rho(changes, [float(c.gains[measure].mean()) for c in comparisons])
            for measure in (0, 2)
        )
        missed = sum(c.changes[position] >= 0 for c in worse)
        refused = sum(c.changes[position] < 0 for c in better)
        lines.append(f"| {name} | {recall:.2f} | {precision:.2f} | {missed} | {refused} |")
    return "\n".join(lines)


def cells(comparisons: Sequence[Comparison]) -> str:
    """Markdown, a row for each comparison: gains in percent, then the criteria's changes."""
    lines = [f"| encoder | gain | {' | '.join(CRITERIA)} |", "|---" * (2 + len(CRITERIA)) + "|"]
    for comparison in comparisons:
        gain = " / ".join(f"{values.mean():+.1f}" for values in comparison.gains)
        changes = " | ".join(f"{change:+.3f}" for change in comparison.changes)
        lines.append(f"| {comparison.name} | {gain} | {changes} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of some sets, by one backbone, and of some runs."""
    parser = reader_options(__doc__)
    parser.add_argument("--sets", type=Path, nargs="*", default=[])
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--counts", type=int, nargs="*", default=[200])
    parser.add_argument("--cells", action="store_true")
    options = parser.parse_args(arguments)
    found: list[Comparison] = []
    if options.sets:
        reader = SetReader(options, options.size)
        for folder in options.sets:
            with torch.no_grad():
                found += of_set(reader, folder, options.size, options.counts)
    try:
        found += [of_run(folder) for folder in options.runs]
    except FgembedError as error:
        sys.exit(f"error: {error}")
    if not found:
        parser.error("give --sets or --runs")
    if options.cells:
        sys.stdout.write(cells(found) + "\n\n")
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
