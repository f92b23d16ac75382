"""The guard: compares a run with its start, so that no worse model is shipped.

The floor is the calibrated start, the highest floor of the table. With labels a run is below its
floor if it is worse by more than noise in recall@1, precision@10 or mAP: a right first hit above
a worse page of hits is no better model. Worse by more than noise means that the bootstrap 95 %
interval of the difference, paired over queries, lies below zero. So each measure refuses about
one in forty of the runs that are as good as their start.

Without labels the guard detects only collapse. It compares how often each encoder retrieves an
image by a gentle view of it. The rule below was tried on 51 encoders of known recall on
grocery81. It refuses the 18 that lost ten points of recall@1 or more, and none of the 27 that
gained; it misses the 6 that lost less. For small changes the share of retrieved views misleads
both ways (one encoder lost nine points of it and gained five of recall), so it never passes a
run. The margin was chosen on the same encoders. What is not known to be better is not shipped:
without labels the export takes the calibrated start, unless the run has learned the start's own
vectors, which has not lost on any set that it was tried on (docs/adaptation.md).
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fgembed.disk.json_records import record
from fgembed.embedding.array_types import Vectors
from fgembed.errors import FgembedError, IntegrityError
from fgembed.evaluation.floor_table import FloorTable, Score, signed
from fgembed.workspace import RunFolder

VIEWS_MARGIN = 0.1
MIN_VIEWS = 30  # with fewer the interval says nothing
IN_ITS_PLACE = "the calibrated start is exported in its place"
REMEDY = 'a small labelled slice decides: "fgembed evaluate --gallery DIR --queries DIR"'


@dataclass(frozen=True)
class Verdict:
    """The guard's verdict on a run.

    Attributes:
        outcome: a run that is `below` or `unknown` is exported only if forced; one that is
            `unknown` by its `teacher` is exported with a warning.
        by: the evidence: `labels`, `views` of the training images, its `teacher` beside them (it
            learned the start's vectors, or from labels alone), or `weights` (nothing was trained).
        trained: the run's recall@1 (other measures are in the table), or its share of retrieved
            views, in 0..1, where measured.
        floor: that of the calibrated start.
        sentence: the reason, without its stop.

    Example:
        >>> START_ITSELF.headline()
        'passed: nothing was trained, this is the calibrated start itself'
    """

    outcome: Literal["passed", "below", "unknown"]
    by: Literal["labels", "views", "teacher", "weights"]
    trained: float | None
    floor: float | None
    sentence: str

    @property
    def ships_start(self) -> bool:
        """Whether the start is exported in its place: nothing tells that the run is better."""
        return self.outcome == "unknown" and self.by == "views"

    def headline(self) -> str:
        """Outcome and reason in one line."""
        outcome = {
            "passed": "passed",
            "below": "below its floor",
            "unknown": "not known to be above its floor",
        }[self.outcome]
        return f"{outcome}: {self.sentence}"


START_ITSELF = Verdict(
    outcome="passed",
    by="weights",
    trained=None,
    floor=None,
    sentence="nothing was trained, this is the calibrated start itself",
)


def judged_by_labels(table: FloorTable) -> Verdict:
    """The verdict on a table's trained encoder beside its calibrated start.

    The sentence on a run that is below names the measures in which it is, else all that were
    compared.

    Args:
        table: of at least two rows.
    """
    assert table.gains
    worse = {name: gain for name, gain in table.gains.items() if gain.high < 0}
    return Verdict(
        outcome="below" if worse else "passed",
        by="labels",
        trained=table.trained.scores["recall@1"].value,
        floor=table.calibrated_start.scores["recall@1"].value,
        sentence=_comparison(table, worse or table.gains),
    )


def judged_by_views(
    trained: Vectors, floor: Vectors, taught_by: Literal["its start", "labels alone"] | None = None
) -> Verdict:
    """The verdict without labels: `below` where far fewer views are retrieved, else `unknown`.

    Args:
        trained: 1.0 for each view that the run's encoder retrieves (`label_free.score_views`),
            else 0.0, (Q,).
        floor: the same for the calibrated start.
        taught_by: what the run has learned from, if that is known to be safe.

    Example:
        >>> import numpy as np
        >>> judged_by_views(trained=np.zeros(100), floor=np.ones(100)).outcome
        'below'
        >>> judged_by_views(trained=np.ones(100), floor=np.ones(100)).outcome
        'unknown'
    """
    difference = Score.of(trained - floor)
    of_trained, of_floor = float(trained.mean()), float(floor.mean())
    collapsed = difference.high < -VIEWS_MARGIN and len(floor) >= MIN_VIEWS
    sentence = (
        f"{100 * of_trained:.1f} % of training images found by a gentle view of them against "
        f"{100 * of_floor:.1f} by the calibrated start, {signed(difference)} over "
        f"{len(floor)} views"
    )
    if not collapsed:
        exported = f"it has learned from {taught_by}, and is exported"
        shipped = exported if taught_by else IN_ITS_PLACE
        sentence += (
            f"; this tells a collapse, but not whether the run is better: {shipped}; {REMEDY}"
        )
    return Verdict(
        outcome="below" if collapsed else "unknown",
        by="teacher" if taught_by else "views",
        trained=of_trained,
        floor=of_floor,
        sentence=sentence,
    )


def verdict_in(report: dict[str, Any], run: Path) -> Verdict:
    """The verdict in a run's `report.json`.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    try:
        return record(Verdict, report.get("guard"))
    except ValueError as error:
        raise IntegrityError(
            f"{RunFolder(run).report} holds no sound verdict on the run: {error}",
            f'measure it again with "fgembed train --resume --run {shlex.quote(str(run))}"',
        ) from None


def of_the_start_in_place_of(run: Path) -> Verdict:
    """The verdict on the calibrated start of a run that nobody can judge."""
    sentence = (
        "this is the calibrated start, for without labels nothing tells whether "
        f"{run.name} is better; --force exports the run; {REMEDY}"
    )
    return replace(START_ITSELF, sentence=sentence)


def refuse_below_floor(verdict: Verdict, run: Path) -> None:
    """Refuses to export a run that is worse than its start.

    Raises:
        FgembedError: the run is below its floor; names the two ways to export anyway.
    """
    if verdict.outcome == "below":
        raise FgembedError(
            f"{run} is below its floor: {verdict.sentence}",
            "export the start with "
            f'"fgembed export {shlex.quote(str(run))} --start", or this run anyway '
            "with --force",
        )


def _comparison(table: FloorTable, gains: Mapping[str, Score]) -> str:
    """The figures of both encoders in these measures, and what the trained one gains."""
    parts: list[str] = []
    for name, gain in gains.items():
        trained = 100 * table.trained.scores[name].value
        floor = 100 * table.calibrated_start.scores[name].value
        whose = "" if parts else " of the calibrated start"
        noise = ", within noise" if gain.low <= 0 <= gain.high else ""
        parts.append(f"{name} {trained:.1f} against {floor:.1f}{whose}, {signed(gain)}{noise}")
    return f"{'; '.join(parts)}, over {table.queries} queries"
