"""The guard: whether a run is worth more than its start, so that no worse model is shipped.

The floor is the calibrated start, the last of a table's floors. A run that is only as good by
chance loses nothing by being refused, for the start that is offered instead is as good: hence
the plain rule, below is below, and the interval says whether it is within noise.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fgembed.errors import FgembedError, IntegrityError
from fgembed.records import record
from fgembed.scores import FloorTable, signed


@dataclass(frozen=True)
class Verdict:
    """What the guard found.

    Attributes:
        outcome: `below` is not exported unless forced; `unknown` is, with a warning.
        by: what decided: `labels`, `weights` (nothing was trained), or `nothing`.
        trained: the run's recall@1 in 0..1, where it was measured.
        floor: that of the calibrated start.
        sentence: the finding, without its stop.
    """

    outcome: Literal["passed", "below", "unknown"]
    by: Literal["labels", "weights", "nothing"]
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
UNKNOWN = Verdict(
    "unknown",
    "nothing",
    None,
    None,
    "there are no labelled pictures to tell; a small slice is enough, "
    "--set eval.gallery=DIR --set eval.queries=DIR",
)


def judged(table: FloorTable | None, *, untrained: bool) -> Verdict:
    """The verdict on a run.

    Args:
        table: its floors and, last, itself; None without labelled pictures.
        untrained: its encoder is the calibrated start.
    """
    if untrained:
        return START_ITSELF
    if table is None or table.gain is None:
        return UNKNOWN
    floor, trained = (row.scores["recall@1"].value for row in table.rows[-2:])
    noise = table.gain.low <= 0 <= table.gain.high
    sentence = (
        f"{_against(trained, floor)}, {signed(table.gain)} over {table.queries} queries"
        f"{', within noise' if noise else ''}"
    )
    outcome: Literal["passed", "below"] = "below" if trained < floor else "passed"
    return Verdict(outcome, "labels", trained, floor, sentence)


def verdict_in(report: dict[str, Any], run: Path) -> Verdict:
    """The verdict that a run's `report.json` holds.

    Raises:
        IntegrityError: there is none, or it is damaged.
    """
    try:
        return record(Verdict, report.get("guard"))
    except ValueError as error:
        raise IntegrityError(
            f"{run / 'report.json'} holds no sound verdict on the run: {error}; measure it again "
            f'with "fgembed train --resume --run {shlex.quote(str(run))}"'
        ) from None


def refuse_below_floor(verdict: Verdict, run: Path) -> None:
    """Refuses to export a model that is worse than doing nothing.

    Raises:
        FgembedError: it is; names the two ways on.
    """
    if verdict.outcome == "below":
        raise FgembedError(
            f"{run} is below its floor: {verdict.sentence}; export the start with "
            f'"fgembed export {shlex.quote(str(run))} --start", or this run all the same '
            "with --force"
        )


def _against(trained: float, floor: float) -> str:
    return f"recall@1 {100 * trained:.1f} against {100 * floor:.1f} of the calibrated start"
