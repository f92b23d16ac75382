"""What was measured, and how it is shown: scores, and tables of them beside their floors."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from fgembed.embedding.array_types import Vectors
from fgembed.evaluation.metrics import bootstrap_interval

POOLING_NAMES = {"gem": "GeM", "mean": "mean", "class-token": "class token"}

# What a table says of a run's trained encoder, by its `select`.
SELECTION_NOTES: dict[str, list[str]] = {
    "last": [],
    "holdout": ["the trained encoder's epoch was selected on held-out training pictures"],
    "test": ["the trained encoder's epoch was selected on the test pictures: biased"],
}


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
class ScoreRow:
    """One encoder's scores.

    Attributes:
        encoder: what it is called.
        dimensions: D of its vectors.
        scores: by metric name.
        recall_curve: recall@k for k = 1, 2, ... in 0..1.
    """

    encoder: str
    dimensions: int
    scores: dict[str, Score]
    recall_curve: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class FloorTable:
    """Scores of several encoders under one protocol, floors first.

    Attributes:
        rows: one an encoder, all with the same scores.
        protocol: how queries and gallery relate.
        queries: pictures looked up.
        gallery: pictures searched.
        classes: of the queries.
        skipped: pictures that could not be read.
        notes: what a reader must know besides, one sentence each without its stop.
        gain: recall@1 of the last row beyond the one above it, paired over queries, in -1..1.
    """

    rows: list[ScoreRow]
    protocol: str
    queries: int
    gallery: int
    classes: int
    skipped: int
    notes: list[str] = field(default_factory=list)
    gain: Score | None = None

    def to_json(self) -> dict[str, Any]:
        """The table as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "FloorTable":
        """The table that `to_json` gave, now or before there were notes, curves and gains."""
        rows = [
            ScoreRow(**(r | {"scores": {k: Score(**v) for k, v in r["scores"].items()}}))
            for r in value["rows"]
        ]
        gain = value.get("gain")
        return cls(**(value | {"rows": rows, "gain": None if gain is None else Score(**gain)}))

    def floors(self) -> "FloorTable":
        """The table without its last row and what is said of that."""
        of_the_last = [note for notes in SELECTION_NOTES.values() for note in notes]
        notes = [note for note in self.notes if note not in of_the_last]
        return replace(self, rows=self.rows[:-1], notes=notes, gain=None)

    def markdown(self) -> str:
        """The table in Markdown, in percent with intervals."""
        names = list(self.rows[0].scores)
        lines = [
            "| encoder | D | " + " | ".join(names) + " |",
            "|---|---|" + "---|" * len(names),
        ]
        for row in self.rows:
            cells = " | ".join(percent(row.scores[name]) for name in names)
            name = row.encoder.replace("|", "\\|")
            lines.append(f"| {name} | {row.dimensions} | {cells} |")
        paragraphs = ["\n".join(lines), *self.caption().splitlines()]
        return "\n\n".join(paragraphs) + "\n"

    def caption(self) -> str:
        """What was measured, in one sentence, and what to keep in mind, a line each."""
        bad = f", {self.skipped} unreadable left out" if self.skipped else ""
        measured = (
            f"{self.protocol}: {self.queries} queries, {self.gallery} gallery pictures, "
            f"{self.classes} classes{bad}; percent, in brackets the bootstrap 95 % interval "
            "over queries"
        )
        gained = (
            [] if self.gain is None else [f"recall@1 beyond the row above: {signed(self.gain)}"]
        )
        return "\n".join(f"{sentence}." for sentence in [measured, *gained, *self.notes])


@dataclass(frozen=True)
class Selected:
    """Which epoch's encoder a run kept.

    Attributes:
        how: on held-out training pictures, or on the test pictures.
        epoch: counted from 1.
        recall: recall@1 there, in 0..1.
        queries: how many pictures were looked up.
    """

    how: Literal["holdout", "test"]
    epoch: int
    recall: float
    queries: int

    def sentence(self) -> str:
        """`epoch 3 of recall@1 55.6 %, selected on the test pictures: biased`."""
        where = (
            "the test pictures: biased"
            if self.how == "test"
            else f"{self.queries} held-out training pictures"
        )
        return f"epoch {self.epoch} of recall@1 {100 * self.recall:.1f} %, selected on {where}"


def percent(score: Score) -> str:
    """`57.5 [55.6, 59.4]`."""
    return f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def signed(difference: Score) -> str:
    """`+5.3 [+3.6, +7.0]`."""
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.value:+.1f} [{low:+.1f}, {high:+.1f}]"
