"""A run's figures as they come: `metrics.jsonl` and TensorBoard, cut back on resume."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter

from fgembed.disk.files import write_text


class MetricsLog:
    """Appends one JSON line a report; entries at or after `start` are from a lost future."""

    def __init__(self, folder: Path, start: int) -> None:
        self.file = folder / "metrics.jsonl"
        write_text(self.file, "".join(_lines_before(self.file, start)))
        self.stream = self.file.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)

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


def _lines_before(file: Path, step: int) -> list[str]:
    if not file.is_file():
        return []
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] < step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # a kill cut the line short
    return kept
