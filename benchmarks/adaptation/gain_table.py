"""What runs gain over their fitted start, by set and backbone, over seeds.

    python -m benchmarks.adaptation.gain_table runs/*

The runs were trained with `eval.gallery` and `eval.queries` set. Those of one set and one backbone
are a row: recall@1 / precision@10 / mAP in percent, the mean and in brackets the least and the most
of the runs. A star marks a gain of which any run's 95 % interval, paired over queries, lies below
zero. Last is the mean of the rows.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.finished_run import Run
from fgembed.errors import FgembedError
from fgembed.evaluation.finished_run import read_run_report
from fgembed.evaluation.floor_table import COMPARED
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class Gain:
    """A run's row of its table beside the fitted start's; in percent, of the three measures."""

    cell: tuple[str, str]
    start: list[float]
    run: list[float]
    is_worse: list[bool]

    @classmethod
    def of(cls, folder: Path) -> "Gain":
        """Of a finished run.

        Raises:
            FgembedError: it is not finished, or has no scores.
        """
        run = Run.read(folder)
        gains = read_run_report(RunFolder(folder))["table"]["gains"]
        queries = Path(run.config["eval"]["queries"])
        counts = run.caption.partition(": ")[2].partition(",")[0]
        return cls(
            cell=(f"{queries.parent.name}, {counts}", run.config["backbone"]["name"]),
            start=[100 * run.floors[-1].scores[name] for name in COMPARED],
            run=[100 * run.trained.scores[name] for name in COMPARED],
            is_worse=[gains[name]["high"] < 0 for name in COMPARED],
        )

    @property
    def gains(self) -> list[float]:
        """Of the three measures."""
        return [run - start for run, start in zip(self.run, self.start, strict=True)]


def table(gains: Sequence[Gain]) -> str:
    """Markdown, a row for each set and backbone, and their mean."""
    cells: dict[tuple[str, str], list[Gain]] = {}
    for gain in gains:
        cells.setdefault(gain.cell, []).append(gain)
    lines = ["| set | backbone | runs | fitted start | run | gain |", "|---" * 6 + "|"]
    for (name, backbone), runs in cells.items():
        start = " / ".join(f"{value:.1f}" for value in runs[0].start)
        found = [ranged([run.run[m] for run in runs]) for m in range(len(COMPARED))]
        gained = [
            ranged([run.gains[m] for run in runs], "+") + "*" * any(run.is_worse[m] for run in runs)
            for m in range(len(COMPARED))
        ]
        cells_text = f"{len(runs)} | {start} | {' / '.join(found)} | {' / '.join(gained)}"
        lines.append(f"| {name} | {backbone} | {cells_text} |")
    rows = [[mean(run.gains[m] for run in runs) for runs in cells.values()] for m in (0, 1, 2)]
    average = " / ".join(f"{mean(row):+.1f}" for row in rows)
    lines.append(f"| mean of the rows | | {len(gains)} | | | {average} |")
    return "\n".join(lines)


def ranged(values: Sequence[float], sign: str = "") -> str:
    """`62.0 (61.5..62.4)`; the mean alone of a single run."""
    middle = f"{mean(values):{sign}.1f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):{sign}.1f}..{max(values):{sign}.1f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table of some runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(table([Gain.of(folder) for folder in options.runs]) + "\n")
    except FgembedError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
