"""A finished run folder, as far as the table of results needs it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fgembed.disk.sealed_files import read_sealed_toml
from fgembed.errors import FgembedError
from fgembed.evaluation.finished_run import read_run_report
from fgembed.workspace import RunFolder

TRAINED = "run "  # how the trained row of a run's table begins

Scores = Mapping[str, float]  # by metric, 0..1


@dataclass(frozen=True)
class Row:
    """One encoder of a run's table."""

    encoder: str
    dimensions: int
    scores: Scores


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: the run folder.
        config: its `config.toml`.
        caption: what was measured.
        floors: the untouched start's rows.
        trained: the run's own row.
        epoch_s: mean seconds of an epoch; None where nothing was trained.
    """

    folder: Path
    config: dict[str, Any]
    caption: str
    floors: list[Row]
    trained: Row
    epoch_s: float | None

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The run in `folder`.

        Raises:
            FgembedError: it is not finished, or has no scores.
        """
        if not RunFolder(folder).report.is_file():
            raise FgembedError(
                f"{folder} holds no report.json", 'finish it with "fgembed train --resume"'
            )
        config = read_sealed_toml(RunFolder(folder).config, "file of settings")
        report = read_run_report(RunFolder(folder))
        table = report["table"]
        if table is None:
            raise FgembedError(
                f"{folder} has no scores", "train it with eval.gallery and eval.queries set"
            )
        rows = [
            Row(row["encoder"], row["dimensions"], _values(row["scores"])) for row in table["rows"]
        ]
        floors = [row for row in rows if not row.encoder.startswith(TRAINED)]
        trained = [row for row in rows if row.encoder.startswith(TRAINED)]
        if len(trained) != 1 or not floors:
            raise FgembedError(f"{folder} has no table of floors and one run", "measure it again")
        caption = (
            f"{table['protocol']}: {table['queries']} queries, {table['gallery']} gallery "
            f"images, {table['classes']} classes"
        )
        seconds = epoch_seconds(RunFolder(folder).metrics, config, report["images"])
        return cls(folder, config, caption, floors, trained[0], seconds)

    @property
    def label(self) -> str:
        """`lcr (paper)`, `lcr (recommended)`, or the recipe's own name in brackets."""
        return f"{self.config['method']['name']} ({self.variant})"

    @property
    def variant(self) -> str:
        """What the recipe is of the method."""
        method, recipe = self.config["method"]["name"], self.config.get("recipe")
        if recipe is None:
            return "no recipe"
        names = {method: "recommended", f"{method}-paper": "paper"}
        return names.get(recipe) or Path(recipe).stem

    @property
    def block(self) -> str:
        """Everything that decides the floors, as one key."""
        config = self.config
        floors = [(row.encoder, row.dimensions) for row in self.floors]
        start = [config["backbone"]["name"], config["backbone"]["weights"]]
        settings = [config["images"], config["eval"], config["preprocessing"]]
        return json.dumps([settings, start, config["pooling"]["shrinkage"], floors, self.caption])


def epoch_seconds(file: Path, config: dict[str, Any], images: int) -> float | None:
    """Mean seconds of an epoch; a line of `metrics.jsonl` is of the steps since the last one."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    batch = config["optimiser"]["batch_size"]
    seconds, done = 0.0, 0
    for line in map(json.loads, lines):
        seconds += (line["step"] + 1 - done) * batch / line["images_per_s"]
        done = line["step"] + 1
    return seconds / done * (images // batch) if done else None


def _values(scores: Mapping[str, Any]) -> Scores:
    return {name: score["value"] for name, score in scores.items()}
