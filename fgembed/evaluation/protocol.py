"""The protocol: what is looked up in what, scored for every encoder alike, floors first.

Embedders are supplied by the caller (torch or ONNX Runtime), so this module is the same for a
run and for a bundle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fgembed.embedding.array_types import Labels, Vectors
from fgembed.embedding.bulk import Embedded
from fgembed.errors import FgembedError
from fgembed.evaluation.floor_table import FloorTable, Score, ScoreRow
from fgembed.evaluation.metrics import QueryScores, score_queries
from fgembed.images.batches import check_bad
from fgembed.images.decoding import Pixels
from fgembed.images.finding import Skipped, class_names, find_images
from fgembed.images.preprocessing import Preprocessing

TABLE_KS = (1, 5, 10)
CURVE_END = 50


class Embed(Protocol):
    """Pictures in, unit vectors out."""

    spec: Preprocessing

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        """The vectors of the pictures that can be read, in the order of `paths`."""
        ...

    def vectors(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> (B, D)."""
        ...


@dataclass(frozen=True)
class LabelledImages:
    """Pictures in class folders below `root`, and what below it could not be looked at."""

    root: Path
    paths: list[Path]
    labels: dict[Path, str]
    skipped: list[Skipped]

    @classmethod
    def find(cls, root: Path) -> "LabelledImages":
        """Every picture below `root`, labelled by its class folder.

        Raises:
            FgembedError: the folder is missing or empty, or a picture is in no class folder.
        """
        paths, skipped = find_images(root)
        names = class_names(paths, root)
        return cls(root, paths, dict(zip(paths, names, strict=True)), skipped)

    def labels_of(self, paths: Sequence[Path]) -> Labels:
        """(N,) class names."""
        return np.array([self.labels[path] for path in paths])


@dataclass(frozen=True)
class Split:
    """What is looked up (`queries`) in what (`gallery`); the same object twice: leave-one-out."""

    queries: LabelledImages
    gallery: LabelledImages

    @classmethod
    def find(cls, gallery: Path, queries: Path) -> "Split":
        """Two folders that do not overlap, or the same one twice.

        Raises:
            FgembedError: see `LabelledImages.find`; or they overlap, or a single picture is
                to be looked up in itself.
        """
        labelled = LabelledImages.find(gallery)
        if gallery.resolve() == queries.resolve():
            if len(labelled.paths) < 2:
                raise FgembedError(
                    f"{gallery} holds one picture", "leave-one-out needs at least two"
                )
            return cls(labelled, labelled)
        looked_up = LabelledImages.find(queries)
        _refuse_overlap(labelled, looked_up)
        return cls(looked_up, labelled)

    @property
    def leave_one_out(self) -> bool:
        """Whether each picture is looked up in all the others."""
        return self.queries is self.gallery


@dataclass(frozen=True)
class EmbeddedSplit:
    """One encoder's vectors of both sides of a split: what every score is made of."""

    embedder: Embed
    queries: Embedded
    query_labels: Labels
    gallery: Embedded
    gallery_labels: Labels
    leave_one_out: bool

    @classmethod
    def embed(cls, embedder: Embed, split: Split, max_bad: float) -> "EmbeddedSplit":
        """Both sides through `embedder`, the same pictures only once.

        Raises:
            BadImagesError: too many pictures cannot be read.
        """
        gallery = _embedded(embedder, split.gallery, max_bad)
        queries = gallery if split.leave_one_out else _embedded(embedder, split.queries, max_bad)
        return cls(
            embedder,
            queries,
            split.queries.labels_of(queries.paths),
            gallery,
            split.gallery.labels_of(gallery.paths),
            split.leave_one_out,
        )

    def scores(self, ks: Sequence[int] = TABLE_KS) -> QueryScores:
        """The retrieval scores of each query."""
        return score_queries(
            self.queries.vectors,
            self.query_labels,
            self.gallery.vectors,
            self.gallery_labels,
            leave_one_out=self.leave_one_out,
            ks=tuple(ks),
        )

    def without_match(self) -> int:
        """Queries of a class that has no picture to be found."""
        names, counts = np.unique(self.gallery_labels, return_counts=True)
        found = names[counts > (1 if self.leave_one_out else 0)]
        return int((~np.isin(self.query_labels, found)).sum())


class Measure(Protocol):
    """Scores beyond retrieval: a classifier on the gallery's vectors, for example."""

    note: str

    def check(self, embed: Embed, leave_one_out: bool) -> None:
        """Refuses what it cannot measure, before anything is embedded."""
        ...

    def __call__(self, embedded_split: EmbeddedSplit) -> dict[str, Vectors]:
        """One value a query, (Q,), by the name of its column."""
        ...


def floor_table(
    embedders: Mapping[str, Embed],
    gallery: Path,
    queries: Path,
    max_bad: float = 0.5,
    measures: Sequence[Measure] = (),
    notes: Sequence[str] = (),
) -> FloorTable:
    """Scores each encoder with `queries` searched in `gallery`.

    Where both are the same folder each picture queries all the others (leave-one-out).

    Raises:
        FgembedError: see `Split.find`.
        BadImagesError: too many pictures cannot be read.
    """
    split = Split.find(gallery, queries)
    for measure in measures:
        for embed in embedders.values():
            measure.check(embed, split.leave_one_out)
    rows = []
    right: list[Vectors] = []
    for name, embed in embedders.items():
        last = EmbeddedSplit.embed(embed, split, max_bad)
        row, first_is_right = _row(name, last, measures)
        rows.append(row)
        right.append(first_is_right)
    said = [*notes, *(measure.note for measure in measures)]
    if last.without_match():
        said.append(f"queries without a picture of their class to find: {last.without_match()}")
    return FloorTable(
        rows,
        "leave-one-out" if split.leave_one_out else "queries against gallery",
        len(last.queries.paths),
        len(last.gallery.paths),
        len(set(last.query_labels)),
        len(last.gallery.skipped) + (0 if split.leave_one_out else len(last.queries.skipped)),
        said,
        Score.of(right[-1] - right[-2]) if len(right) > 1 else None,
    )


def _refuse_overlap(gallery: LabelledImages, queries: LabelledImages) -> None:
    """A query that lies in the gallery too would find itself first."""
    known = {path.resolve() for path in gallery.paths}
    for path in queries.paths:
        if path.resolve() in known:
            raise FgembedError(
                f"{path} is both a query and in the gallery {gallery.root}",
                "give folders that do not overlap, or the same one twice for leave-one-out",
            )


def _embedded(embed: Embed, images: LabelledImages, max_bad: float) -> Embedded:
    result = embed(images.paths)
    skipped = images.skipped + result.skipped
    check_bad(skipped, len(images.paths) + len(images.skipped), max_bad)
    return Embedded(result.paths, result.vectors, skipped)


def _row(
    name: str, embedded_split: EmbeddedSplit, measures: Sequence[Measure]
) -> tuple[ScoreRow, Vectors]:
    """The row, and whether each query's nearest picture is of its class, (Q,)."""
    curve = range(1, min(CURVE_END, len(embedded_split.gallery.paths)) + 1)
    result = embedded_split.scores(sorted({*TABLE_KS, *curve}))
    values = {f"recall@{k}": result.recall[k] for k in TABLE_KS}
    values |= {"mAP": result.average_precision, "mAP@R": result.map_at_r}
    values |= {f"kNN@{k}": correct for k, correct in result.knn.items()}
    for measure in measures:
        values |= measure(embedded_split)
    row = ScoreRow(
        name,
        embedded_split.gallery.vectors.shape[1],
        {metric: Score.of(each) for metric, each in values.items()},
        [float(result.recall[k].mean()) for k in curve],
    )
    return row, result.recall[1]
