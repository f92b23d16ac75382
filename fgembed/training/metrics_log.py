"""A run's figures over its steps: `metrics.jsonl` and TensorBoard, cut back on resume."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from fgembed.disk.files import atomic_write
from fgembed.workspace import RunFolder


class MetricsLog:
    """Appends one JSON line for each report.

    Lines at or after step `start` are removed: a killed process logged them after the
    checkpoint, and these steps are now taken again.
    """

    def __init__(self, run: RunFolder, start: int) -> None:
        with atomic_write(run.metrics) as file:
            file.writelines(_lines_before(run.metrics, start))
        self.stream = run.metrics.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(run.tensorboard), purge_step=start)

    def write(self, step: int, figures: dict[str, Any]) -> None:
        """Logs the figures of one step."""
        self.stream.write(json.dumps({"step": step} | figures) + "\n")
        self.stream.flush()
        for name, value in figures.items():
            self.board.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stream.close()
        self.board.close()


def logged(file: Path, names: Sequence[str]) -> list[tuple[float, ...]]:
    """The steps and the figures of these names, of the lines that have all of them.

    Args:
        file: a run's `metrics.jsonl`; it may be missing.
        names: of the figures.
    """
    lines = _lines_before(file, 1 << 62)  # a line that a kill cut short is left out
    return [
        (line["step"], *(line[name] for name in names))
        for line in map(json.loads, lines)
        if all(name in line for name in names)
    ]


def _lines_before(file: Path, step: int) -> list[bytes]:
    if not file.is_file():
        return []
    lines = file.read_bytes().splitlines(keepends=True)
    return [line for line in lines if _is_before(line, step)]


def _is_before(line: bytes, step: int) -> bool:
    try:
        return line.endswith(b"\n") and bool(json.loads(line)["step"] < step)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False  # a kill cut the line short, or the disk damaged it
