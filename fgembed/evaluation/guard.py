"""The guard: whether a run is worth more than its start, so that no worse model is shipped.

The floor is the calibrated start, the last of a table's floors. A run that is only as good by
chance loses nothing by being refused, for the start that is offered instead is as good: hence
the plain rule, below is below, and the interval says whether it is within noise.

Without labels only collapse is seen, by how often an encoder finds a picture by a gentle view of
it. Among 51 encoders of known recall on grocery81 the rule below refuses the 18 that lost ten
points of recall@1 or more and none of the 27 that gained; it does not see the 6 that lost less.
Nearer to zero it is wrong both ways (one lost nine points of views and gained five of recall), so
finding views never passes a run. The margin was chosen on the same encoders.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fgembed.disk.json_records import record
from fgembed.embedding.array_types import Vectors
from fgembed.errors import FgembedError, IntegrityError
from fgembed.evaluation.floor_table import FloorTable, Score, signed
from fgembed.workspace import RunFolder

VIEWS_MARGIN = 0.1
MIN_VIEWS = 30  # fewer show no interval worth the name
REMEDY = 'a small labelled slice tells: "fgembed evaluate --gallery DIR --queries DIR"'


@dataclass(frozen=True)
class Verdict:
    """What the guard found.

    Attributes:
        outcome: `below` is not exported unless forced; `unknown` is, with a warning.
        by: what decided: `labels`, `views` of the training pictures, or `weights` (nothing
            was trained).
        trained: the run's recall@1, or the share of views found, in 0..1, where measured.
        floor: that of the calibrated start.
        sentence: the finding, without its stop.
    """

    outcome: Literal["passed", "below", "unknown"]
    by: Literal["labels", "views", "weights"]
    trained: float | None
    floor: float | None
    sentence: str

    def headline(self) -> str:
        """Outcome and finding in one line."""
        outcome = {
            "passed": "passed",
            "below": "below its floor",
            "unknown": "not known to be above its floor",
        }[self.outcome]
        return f"{outcome}: {self.sentence}"


START_ITSELF = Verdict(
    "passed", "weights", None, None, "nothing was trained, this is the calibrated start itself"
)


def judged_by_labels(table: FloorTable) -> Verdict:
    """The verdict on the last row of a table, whose floor is the row above.

    Args:
        table: of at least two rows.
    """
    assert table.gain is not None
    floor, trained = (row.scores["recall@1"].value for row in table.rows[-2:])
    noise = table.gain.low <= 0 <= table.gain.high
    sentence = (
        f"{_against(trained, floor)}, {signed(table.gain)} over {table.queries} queries"
        f"{', within noise' if noise else ''}"
    )
    outcome: Literal["passed", "below"] = "below" if trained < floor else "passed"
    return Verdict(outcome, "labels", trained, floor, sentence)


def judged_by_views(trained: Vectors, floor: Vectors) -> Verdict:
    """The verdict without labels: `below` where far fewer views are found, else `unknown`.

    Args:
        trained: whether the run's encoder found each view (`label_free.views_found`), (Q,).
        floor: whether the calibrated start did.
    """
    loss = Score.of(trained - floor)
    shares = float(trained.mean()), float(floor.mean())
    seen = (
        f"{100 * shares[0]:.1f} % of training pictures found by a gentle view of them against "
        f"{100 * shares[1]:.1f} by the calibrated start, {signed(loss)} over {len(floor)} views"
    )
    if loss.high < -VIEWS_MARGIN and len(floor) >= MIN_VIEWS:
        return Verdict("below", "views", *shares, seen)
    return Verdict("unknown", "views", *shares, f"{seen}, which shows a collapse only; {REMEDY}")


def verdict_in(report: dict[str, Any], run: Path) -> Verdict:
    """The verdict that a run's `report.json` holds.

    Raises:
        IntegrityError: there is none, or it is damaged.
    """
    try:
        return record(Verdict, report.get("guard"))
    except ValueError as error:
        raise IntegrityError(
            f"{RunFolder(run).report} holds no sound verdict on the run: {error}",
            f'measure it again with "fgembed train --resume --run {shlex.quote(str(run))}"',
        ) from None


def refuse_below_floor(verdict: Verdict, run: Path) -> None:
    """Refuses to export a model that is worse than doing nothing.

    Raises:
        FgembedError: it is; names the two ways on.
    """
    if verdict.outcome == "below":
        raise FgembedError(
            f"{run} is below its floor: {verdict.sentence}",
            "export the start with "
            f'"fgembed export {shlex.quote(str(run))} --start", or this run all the same '
            "with --force",
        )


def _against(trained: float, floor: float) -> str:
    return f"recall@1 {100 * trained:.1f} against {100 * floor:.1f} of the calibrated start"
