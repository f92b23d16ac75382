"""Scores, and the floor table that shows them: the floors first, the trained encoder last."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from fgembed.embedding.array_types import Vectors
from fgembed.evaluation.metrics import bootstrap_interval
from fgembed.evaluation.speed import Speed
from fgembed.text import showable

# The measures in which a trained encoder is compared with its start: the first hit, the page of
# hits that people look at, and the order of all.
COMPARED = ("recall@1", "precision@10", "mAP")
ABSENT = "-"  # the cell of a score that was not measured

POOLING_NAMES = {"gem": "GeM", "mean": "mean", "class-token": "class token"}

# The notes on a run's trained encoder, by its setting `select`; each starts with `_OF_TRAINED`.
_OF_TRAINED = "the trained encoder"
SELECTION_NOTES: dict[str, tuple[str, ...]] = {
    "last": (),
    "holdout": (f"{_OF_TRAINED}'s epoch was selected on held-out training images",),
    "test": (f"{_OF_TRAINED}'s epoch was selected on the test images: biased",),
}


@dataclass(frozen=True)
class Score:
    """A mean over queries and its bootstrap 95 % interval; in 0..1, a difference in -1..1.

    Example:
        >>> import numpy as np
        >>> Score.of(np.array([1.0, 1.0, 0.0, 1.0]))
        Score(value=0.75, low=0.25, high=1.0)
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Vectors) -> "Score":
        """The score of values (Q,), one for each query."""
        low, high = bootstrap_interval(values)
        return cls(value=float(values.mean()), low=low, high=high)


@dataclass(frozen=True)
class ScoreRow:
    """One encoder's scores.

    Attributes:
        encoder: its name in the table.
        dimensions: D of its vectors.
        scores: by the name of the metric.
        recall_curve: recall@k for k = 1, 2, ... in 0..1.
    """

    encoder: str
    dimensions: int
    scores: dict[str, Score]
    recall_curve: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class FloorTable:
    """Scores of several encoders under one protocol.

    Attributes:
        rows: one for each encoder, all with the same metrics: the floors, lowest first, then the
            trained encoder.
        protocol: how queries and gallery relate.
        queries: how many images were queries.
        gallery: how many images were searched.
        classes: how many classes the queries have.
        skipped: how many images could not be read.
        notes: sentences that a reader of the scores must know, each without its stop.
        gains: the trained encoder's scores minus those of the calibrated start, paired over
            queries, in -1..1, by metric; empty in a table of one row.
        speed: of the rows that were timed, by name; of one machine, so that it does not count
            where tables are compared.

    Example:
        >>> score = Score(value=0.5, low=0.4, high=0.6)
        >>> rows = [ScoreRow(name, 512, {"recall@1": score}) for name in ("start", "run tiny")]
        >>> table = FloorTable(rows, "leave-one-out", 10, 10, 2, skipped=0)
        >>> table.trained.encoder, [row.encoder for row in table.floors]
        ('run tiny', ['start'])
    """

    rows: list[ScoreRow]
    protocol: str
    queries: int
    gallery: int
    classes: int
    skipped: int
    notes: list[str] = field(default_factory=list)
    gains: dict[str, Score] = field(default_factory=dict)
    speed: dict[str, Speed] = field(default_factory=dict, compare=False)

    @property
    def trained(self) -> ScoreRow:
        """The row of the run's or bundle's encoder."""
        return self.rows[-1]

    @property
    def floors(self) -> list[ScoreRow]:
        """The rows of the untouched start, lowest first; the last one is the calibrated start."""
        return self.rows[:-1]

    @property
    def calibrated_start(self) -> ScoreRow:
        """The row of the highest floor, which the trained encoder is compared with."""
        return self.floors[-1]

    @property
    def metrics(self) -> list[str]:
        """The names of the columns; early tables have no scores for `precision@10`."""
        names = list(self.rows[0].scores)
        if "precision@10" not in names:
            names.insert(sum(name.startswith("recall@") for name in names), "precision@10")
        return names

    def to_json(self) -> dict[str, Any]:
        """The table as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "FloorTable":
        """The table that `to_json` gave.

        Early ones lack notes, recall curves and gains; later ones have recall@1's alone, as `gain`.
        """
        rows = [
            ScoreRow(**(row | {"scores": {k: Score(**v) for k, v in row["scores"].items()}}))
            for row in value["rows"]
        ]
        early = value.get("gain")
        gains = value.get("gains", {"recall@1": early} if early else {})
        content = {name: entry for name, entry in value.items() if name != "gain"}
        content |= {"rows": rows, "gains": {name: Score(**gain) for name, gain in gains.items()}}
        content["speed"] = {k: Speed(**v) for k, v in value.get("speed", {}).items()}
        return cls(**content)

    def without_trained(self) -> "FloorTable":
        """A table of the floors alone, without the notes on the trained encoder."""
        notes = [note for note in self.notes if not note.startswith(_OF_TRAINED)]
        return replace(self, rows=self.floors, notes=notes, gains={})

    def markdown(self) -> str:
        """The table and its caption in Markdown, in percent with intervals."""
        names = self.metrics
        lines = [
            "| encoder | D | " + " | ".join(names) + " |",
            "|---|---|" + "---|" * len(names),
        ]
        for row in self.rows:
            cells = " | ".join(percent(row.scores.get(name)) for name in names)
            name = showable(row.encoder).replace("|", "\\|")
            lines.append(f"| {name} | {row.dimensions} | {cells} |")
        paragraphs = ["\n".join(lines), *self.caption().splitlines()]
        return "\n\n".join(paragraphs) + "\n"

    def caption(self) -> str:
        """One line for the protocol, one for the gains, one for each note."""
        unreadable = f", {self.skipped} that are not read left out" if self.skipped else ""
        measured = (
            f"{self.protocol}: {self.queries} queries, {self.gallery} gallery images, "
            f"{self.classes} classes{unreadable}; percent, in brackets the bootstrap 95 % interval "
            "over queries"
        )
        gained = ", ".join(f"{name} {signed(gain)}" for name, gain in self.gains.items())
        beyond = [f"beyond the row above: {gained}"] if gained else []
        return "\n".join(f"{sentence}." for sentence in [measured, *beyond, *self.notes])


@dataclass(frozen=True)
class Selected:
    """The epoch whose encoder a run selected.

    Attributes:
        how: whether on held-out training images or on the test images.
        epoch: counted from 1.
        recall: recall@1 on those images, in 0..1.
        queries: how many images were queries.
        precision_at_10: precision@10 on those images, in 0..1; early runs did not measure it.
    """

    how: Literal["holdout", "test"]
    epoch: int
    recall: float
    queries: int
    precision_at_10: float | None = None

    def sentence(self) -> str:
        """The selection in words.

        Example:
            >>> Selected(how="test", epoch=3, recall=0.5, queries=9, precision_at_10=0.4).sentence()
            'epoch 3 of recall@1 50.0 %, precision@10 40.0 %, selected on the test images: biased'
        """
        images = (
            "the test images: biased"
            if self.how == "test"
            else f"{self.queries} held-out training images"
        )
        measured = f"recall@1 {100 * self.recall:.1f} %"
        if self.precision_at_10 is not None:
            measured += f", precision@10 {100 * self.precision_at_10:.1f} %"
        return f"epoch {self.epoch} of {measured}, selected on {images}"


def percent(score: Score | None) -> str:
    """A score in percent: `57.5 [55.6, 59.4]`; `-` where it was not measured."""
    if score is None:
        return ABSENT
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def signed(difference: Score) -> str:
    """A difference of two scores in points: `+5.3 [+3.6, +7.0]`."""
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.value:+.1f} [{low:+.1f}, {high:+.1f}]"
