"""The protocol: which queries are searched in which gallery, scored alike for every encoder.

The caller supplies the embedders, on torch or on ONNX Runtime, so this module serves a run and a
bundle alike.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from fgembed.embedding.array_types import Labels, Vectors
from fgembed.embedding.bulk import Embedded
from fgembed.errors import FgembedError
from fgembed.evaluation.floor_table import COMPARED, FloorTable, Score, ScoreRow
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.evaluation.metrics import QueryScores, score_queries
from fgembed.images.decoding import Pixels
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.preprocessing import Preprocessing
from fgembed.images.skipped import check_bad
from fgembed.text import showable

TABLE_KS = (1, 5, 10)
CURVE_END = 50


class Embed(Protocol):
    """An embedder: images in, unit vectors out."""

    spec: Preprocessing

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        """The vectors of the images that can be read, in the order of `paths`."""
        ...

    def vectors(self, pixels: Pixels) -> Vectors:
        """(B, size, size, 3) uint8 -> (B, D)."""
        ...


@dataclass(frozen=True)
class Split:
    """Queries and the gallery that they are searched in; the same object twice: leave-one-out."""

    queries: LabelledImages
    gallery: LabelledImages

    @classmethod
    def find(cls, gallery: Path, queries: Path, *, include_clutter: bool = False) -> "Split":
        """The split of two folders that do not overlap, or of one folder given twice.

        Raises:
            FgembedError: see `LabelledImages.find`; or the folders overlap; or leave-one-out has
                a single image.
        """
        labelled = LabelledImages.find(gallery, include_clutter)
        if gallery.resolve() == queries.resolve():
            if len(labelled.paths) < 2:
                raise FgembedError(
                    f"{gallery} holds one image, leave-one-out needs at least two", "add images"
                )
            return cls(queries=labelled, gallery=labelled)
        searched_for = LabelledImages.find(queries, include_clutter)
        _refuse_overlap(labelled, searched_for)
        return cls(queries=searched_for, gallery=labelled)

    @property
    def leave_one_out(self) -> bool:
        """Whether each image is searched in all the others."""
        return self.queries is self.gallery

    def passed_over(self) -> list[str]:
        """What was passed over as clutter, in words; empty if nothing was."""
        clutter = PassedOver()
        for side in [self.gallery] if self.leave_one_out else [self.gallery, self.queries]:
            clutter.add(side.passed_over)
        return [clutter.sentence()] if clutter.images else []


@dataclass(frozen=True)
class EmbeddedSplit:
    """One encoder's vectors of both sides of a split, (Q, D) and (N, D), and their class names.

    Images that could not be read are in neither. In leave-one-out query i is gallery image i.
    """

    embedder: Embed
    queries: Embedded
    query_labels: Labels
    gallery: Embedded
    gallery_labels: Labels
    leave_one_out: bool

    @classmethod
    def embed(cls, embedder: Embed, split: Split, max_bad: float) -> "EmbeddedSplit":
        """Embeds both sides of a split; the images of leave-one-out only once.

        Raises:
            BadImagesError: more than the share `max_bad` of a side cannot be read.
        """
        gallery = _embedded(embedder, split.gallery, max_bad)
        queries = gallery if split.leave_one_out else _embedded(embedder, split.queries, max_bad)
        return cls(
            embedder=embedder,
            queries=queries,
            query_labels=split.queries.labels_of(queries.paths),
            gallery=gallery,
            gallery_labels=split.gallery.labels_of(gallery.paths),
            leave_one_out=split.leave_one_out,
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
        """How many queries are of a class that the rest of the gallery lacks."""
        names, counts = np.unique(self.gallery_labels, return_counts=True)
        matchable = names[counts > (1 if self.leave_one_out else 0)]
        return int((~np.isin(self.query_labels, matchable)).sum())


class Measure(Protocol):
    """Scores beyond retrieval, for example those of a classifier on the gallery's vectors."""

    note: str

    def check(self, embed: Embed, leave_one_out: bool) -> None:
        """Refuses what it cannot measure, before the images are embedded."""
        ...

    def __call__(self, embedded_split: EmbeddedSplit) -> dict[str, Vectors]:
        """Values (Q,) by the name of their column."""
        ...


def floor_table(
    embedders: Mapping[str, Embed],
    gallery: Path,
    queries: Path,
    max_bad: float = 0.5,
    measures: Sequence[Measure] = (),
    notes: Sequence[str] = (),
    *,
    include_clutter: bool = False,
) -> FloorTable:
    """Scores each encoder on the same queries and gallery.

    Args:
        embedders: by the name of their row: the floors, lowest first, then the trained encoder.
        gallery: folder of labelled images.
        queries: another one, or the gallery again for leave-one-out.
        max_bad: the share of unreadable images that is accepted, in 0..1.
        measures: further columns.
        notes: for the table.
        include_clutter: read also what systems and programs left in the folders.

    Raises:
        FgembedError: see `Split.find`.
        BadImagesError: too many images cannot be read.
    """
    split = Split.find(gallery, queries, include_clutter=include_clutter)
    for measure in measures:
        for embed in embedders.values():
            measure.check(embed, split.leave_one_out)
    notes = [*notes, *(measure.note for measure in measures), *split.passed_over()]
    results = [
        _encoder_table(name, EmbeddedSplit.embed(embed, split, max_bad), measures, notes)
        for name, embed in embedders.items()
    ]
    rows = [table.trained for table, _ in results]
    if len(rows) < 2:
        return results[-1][0]
    (_, of_start), (table, of_trained) = results[-2:]
    gains = {name: Score.of(of_trained[name] - of_start[name]) for name in COMPARED}
    return replace(table, rows=rows, gains=gains)


def _refuse_overlap(gallery: LabelledImages, queries: LabelledImages) -> None:
    """A query that is also in the gallery would be its own nearest image."""
    searched = {os.path.realpath(path) for path in gallery.paths}
    for path in queries.paths:
        if os.path.realpath(path) in searched:
            raise FgembedError(
                f"{path} is both a query and in the gallery {gallery.root}",
                "give folders that do not overlap, or the same one twice for leave-one-out",
            )


def _embedded(embed: Embed, images: LabelledImages, max_bad: float) -> Embedded:
    result = embed(images.paths)
    skipped = images.skipped + result.skipped
    check_bad(skipped, len(images.paths) + len(images.skipped), max_bad)
    return Embedded(paths=result.paths, vectors=result.vectors, skipped=skipped)


def _encoder_table(
    name: str, embedded_split: EmbeddedSplit, measures: Sequence[Measure], notes: Sequence[str]
) -> tuple[FloorTable, dict[str, Vectors]]:
    """A table of one encoder, and what is averaged in its columns, (Q,) each."""
    queries, gallery = embedded_split.queries, embedded_split.gallery
    curve = range(1, min(CURVE_END, len(gallery.paths)) + 1)
    retrieval = embedded_split.scores(sorted({*TABLE_KS, *curve}))
    values = {f"recall@{k}": retrieval.recall[k] for k in TABLE_KS}
    values["precision@10"] = retrieval.precision_at_10
    values |= {"mAP": retrieval.average_precision, "mAP@R": retrieval.map_at_r}
    values |= {f"kNN@{k}": correct for k, correct in retrieval.knn.items()}
    for measure in measures:
        values |= measure(embedded_split)
    row = ScoreRow(
        encoder=name,
        dimensions=gallery.vectors.shape[1],
        scores={metric: Score.of(value) for metric, value in values.items()},
        recall_curve=[float(retrieval.recall[k].mean()) for k in curve],
    )
    leave_one_out, unmatched = embedded_split.leave_one_out, embedded_split.without_match()
    if unmatched:
        notes = [*notes, f"queries without an image of their class to find: {unmatched}"]
    skipped = gallery.skipped + ([] if leave_one_out else queries.skipped)
    if skipped:
        first = min(skipped, key=lambda image: not image.is_bad)
        notes = [*notes, showable(f"left out for one: {first.path}, {first.reason}")]
    table = FloorTable(
        rows=[row],
        protocol="leave-one-out" if leave_one_out else "queries against gallery",
        queries=len(queries.paths),
        gallery=len(gallery.paths),
        classes=len(set(embedded_split.query_labels)),
        skipped=len(skipped),
        notes=list(notes),
    )
    return table, values
