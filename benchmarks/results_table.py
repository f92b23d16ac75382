"""The Markdown table of docs/results.md, out of finished run folders.

Runs of one recipe that differ in their seed alone are one row: the mean, and the least and the
most over the runs. The floors stand above them, once for all runs that share what decides the
floors: images, preprocessing, start and whitening.

    python -m benchmarks.results_table runs/moco-* runs/lcr-* --cost cost.json > table.md

No run given is ever left out: what does not fit the table is an error.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.finished_run import Row, Run
from fgembed.errors import FgembedError

BASE = "moco"
METRICS = ("recall@1", "recall@5", "precision@10", "mAP", "mAP@R")  # and every kNN there is
FLOOR_TOLERANCE = 0.001  # other numbers of threads sum in another order
NONE = "-"
MAY_DIFFER = ("seed", "device", "workers", "threads", "max_bad", "checkpoint_every_s")


def markdown(runs: Sequence[Run], cost: dict[str, Any] | None) -> str:
    """A table for each set of floors.

    Raises:
        FgembedError: runs that belong together do not agree.
    """
    blocks: dict[str, list[Run]] = {}
    for run in runs:
        blocks.setdefault(run.block, []).append(run)
    return "\n".join(_block(block, cost) for block in blocks.values())


def _block(runs: Sequence[Run], cost: dict[str, Any] | None) -> str:
    first = runs[0]
    _require_equal_floors(runs)
    rows: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        rows.setdefault((run.label, str(run.config.get("recipe"))), []).append(run)
    named = list(METRICS) + [name for name in first.trained.scores if name.startswith("kNN")]
    speed = "one step" if cost else "an epoch"
    spec, start = first.config["preprocessing"], first.config["backbone"]
    lines = [
        f"### {spec['fit']} to {spec['size']} px, {start['name']}",
        "",
        f"| encoder | seeds | D | {' | '.join(named)} | {speed}, x {BASE} |",
        "|---|---|---|" + "---|" * (len(named) + 1),
    ]
    for floor in first.floors:
        lines.append(_line([floor.encoder, "", str(floor.dimensions)], [floor], named, NONE))
    for group in rows.values():
        _require_same_settings(group)
        seeds = ", ".join(str(run.config["seed"]) for run in group)
        cells = [group[0].label, seeds, str(group[0].trained.dimensions)]
        ratio = _cost_ratio(group[0], cost) if cost else _epoch_ratio(group, runs)
        lines.append(_line(cells, [run.trained for run in group], named, ratio))
    return "\n".join([*lines, "", f"{first.caption.capitalize()}. {_note(cost)}", ""])


def _line(cells: Sequence[str], rows: Sequence[Row], names: Sequence[str], ratio: str) -> str:
    return "| " + " | ".join([*cells, *(_cell(rows, name) for name in names), ratio]) + " |"


def _cell(rows: Sequence[Row], name: str) -> str:
    """Percent: `57.5`, of several runs `57.5 (56.9..58.1)`; `-` if an early run lacks it."""
    if any(name not in row.scores for row in rows):
        return NONE
    values = [row.scores[name] for row in rows]
    spread = f" ({100 * min(values):.1f}..{100 * max(values):.1f})" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"


def _epoch_ratio(group: Sequence[Run], runs: Sequence[Run]) -> str:
    """Seconds of an epoch over those of MoCo under the same kind of recipe."""
    base = [r.epoch_s for r in runs if r.label == f"{BASE} ({group[0].variant})" and r.epoch_s]
    epochs_s = [run.epoch_s for run in group if run.epoch_s]
    return f"{mean(epochs_s) / mean(base):.2f}" if epochs_s and base else NONE


def _cost_ratio(run: Run, cost: dict[str, Any]) -> str:
    """What `step_cost.py` measured under the run's recipe."""
    ratios = {row["recipe"]: row["ratio"] for row in cost["methods"].values()}
    recipe = run.config.get("recipe")
    return f"{ratios[recipe]:.2f}" if recipe in ratios else NONE


def _note(cost: dict[str, Any] | None) -> str:
    caption = "Percent: the mean over the seeds and, in brackets, the least and the most. "
    if cost is None:
        return caption + "Time as the runs went, other load on the machine included."
    overrides = f", with {', '.join(cost['set'])}" if cost["set"] else ""
    return caption + (
        f"Time of one step beside MoCo's in the same run (`benchmarks/step_cost.py`): "
        f"{cost['backbone']}, {cost['size']} px, batch {cost['batch']}, "
        f"{cost['threads']} threads, {cost['machine']}{overrides}."
    )


def _require_equal_floors(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for ours, theirs in zip(first.floors, run.floors, strict=True):
            for name, value in ours.scores.items():
                other = theirs.scores.get(name, value)  # early runs lack precision@10
                if abs(value - other) > FLOOR_TOLERANCE:
                    raise FgembedError(
                        f"{first.folder} and {run.folder} share their start but not its {name} "
                        f"({ours.encoder}: {value:.4f}, {other})",
                        "measure both again on the same images",
                    )


def _require_same_settings(group: Sequence[Run]) -> None:
    first = _flat(group[0].config)
    for run in group[1:]:
        other = _flat(run.config)
        for key in sorted(first.keys() | other.keys()):
            if key not in MAY_DIFFER and first.get(key) != other.get(key):
                raise FgembedError(
                    f"{group[0].folder} and {run.folder} are both {run.label} but differ in {key} "
                    f"({first.get(key)}, {other.get(key)})",
                    "tabulate them apart",
                )


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return flat


def main() -> None:
    """Reads every run, then prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--cost", type=Path, help="JSON of benchmarks/step_cost.py")
    arguments = parser.parse_args()
    try:
        cost = json.loads(arguments.cost.read_text()) if arguments.cost else None
        folders = dict.fromkeys(folder.resolve() for folder in arguments.runs)  # `latest` is one
        print(markdown([Run.read(folder) for folder in folders], cost), end="")
    except FgembedError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
