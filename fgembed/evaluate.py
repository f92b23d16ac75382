"""The protocol and the floor table: retrieval scores over vectors, never without their floor.

Embedders are supplied by the caller (torch or ONNX Runtime), so this module is the same for a
run and for a bundle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.errors import FgembedError
from fgembed.image_batches import Embedded, check_bad
from fgembed.images import Skipped, class_names, find_images
from fgembed.metrics import Labels, Vectors, bootstrap_interval, score_queries

FLOOR_MEAN = "untouched start, mean pooling"
FLOOR_GEM = "untouched start, GeM + whitening"


Embed = Callable[[Sequence[Path]], Embedded]


@dataclass(frozen=True)
class Score:
    """A mean over queries and its bootstrap 95 % interval, each in 0..1."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Vectors) -> "Score":
        """The score of one value a query."""
        return cls(float(values.mean()), *bootstrap_interval(values))


@dataclass(frozen=True)
class Row:
    """One encoder's scores, by metric name."""

    encoder: str
    dimensions: int
    scores: dict[str, Score]


@dataclass(frozen=True)
class FloorTable:
    """Scores of several encoders under one protocol."""

    rows: list[Row]
    protocol: str
    queries: int
    gallery: int
    classes: int
    skipped: int

    def to_json(self) -> dict[str, Any]:
        """The table as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "FloorTable":
        """The table that `to_json` gave."""
        rows = [
            Row(r["encoder"], r["dimensions"], {k: Score(**v) for k, v in r["scores"].items()})
            for r in value["rows"]
        ]
        return cls(**(value | {"rows": rows}))

    def markdown(self) -> str:
        """The table in Markdown, in percent, recall@1 with its interval."""
        names = list(self.rows[0].scores)
        lines = [
            "| encoder | D | " + " | ".join(names) + " |",
            "|---|---|" + "---|" * len(names),
        ]
        for row in self.rows:
            cells = " | ".join(percent(row.scores[name]) for name in names)
            lines.append(f"| {row.encoder} | {row.dimensions} | {cells} |")
        return "\n".join(lines) + f"\n\n{self.caption()}\n"

    def caption(self) -> str:
        """What was measured, in one sentence."""
        note = f", {self.skipped} unreadable left out" if self.skipped else ""
        return (
            f"{self.protocol}: {self.queries} queries, {self.gallery} gallery pictures, "
            f"{self.classes} classes{note}; percent, in brackets the bootstrap 95 % interval "
            "over queries."
        )


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


def floor_table(
    embedders: Mapping[str, Embed], gallery: Path, queries: Path, max_bad: float = 0.5
) -> FloorTable:
    """Scores each encoder with `queries` searched in `gallery`.

    Where both are the same folder each picture queries all the others (leave-one-out).

    Raises:
        FgembedError: see `LabelledImages.find`.
        BadImagesError: too many pictures cannot be read.
    """
    alone = gallery.resolve() == queries.resolve()
    searched = LabelledImages.find(gallery)
    asked = searched if alone else LabelledImages.find(queries)
    if not alone:
        _refuse_overlap(searched, asked)
    elif len(searched.paths) < 2:
        raise FgembedError(f"{gallery} holds one picture; leave-one-out needs at least two")
    rows, used = [], None
    for name, embed in embedders.items():
        found = _embedded(embed, searched, max_bad)
        sought = found if alone else _embedded(embed, asked, max_bad)
        rows.append(_row(name, sought, asked, found, searched, alone))
        used = (sought, found)
    assert used is not None
    sought, found = used
    skipped = len(found.skipped) + (0 if alone else len(sought.skipped))
    return FloorTable(
        rows,
        "leave-one-out" if alone else "queries against gallery",
        len(sought.paths),
        len(found.paths),
        len(set(_labels(sought, asked))),
        skipped,
    )


def _refuse_overlap(searched: LabelledImages, asked: LabelledImages) -> None:
    """A query that lies in the gallery too would find itself first."""
    known = {path.resolve() for path in searched.paths}
    for path in asked.paths:
        if path.resolve() in known:
            raise FgembedError(
                f"{path} is both a query and in the gallery {searched.root}; "
                "give folders that do not overlap, or the same one twice for leave-one-out"
            )


def percent(score: Score) -> str:
    """`57.5 [55.6, 59.4]`."""
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def _embedded(embed: Embed, images: LabelledImages, max_bad: float) -> Embedded:
    result = embed(images.paths)
    skipped = images.skipped + result.skipped
    check_bad(skipped, len(images.paths) + len(images.skipped), max_bad)
    return Embedded(result.paths, result.vectors, skipped)


def _labels(embedded: Embedded, images: LabelledImages) -> Labels:
    return np.array([images.labels[path] for path in embedded.paths])


def _row(
    name: str,
    sought: Embedded,
    asked: LabelledImages,
    found: Embedded,
    searched: LabelledImages,
    alone: bool,
) -> Row:
    result = score_queries(
        sought.vectors,
        _labels(sought, asked),
        found.vectors,
        _labels(found, searched),
        leave_one_out=alone,
    )
    scores = {f"recall@{k}": Score.of(values) for k, values in result.recall.items()}
    scores["mAP"] = Score.of(result.average_precision)
    scores["mAP@R"] = Score.of(result.map_at_r)
    scores["kNN"] = Score.of(result.knn)
    return Row(name, found.vectors.shape[1], scores)
