"""Progress of a training on stderr: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from fgembed.train import Progress as TrainingState

LINE_EVERY_S = 30


class TrainingProgress:
    """Shows steps, loss, images a second, the time left and the share of waiting for data."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task("train", total=None, epoch="", figures="")
        self.shown = time.monotonic()

    def report(self, state: "TrainingState") -> None:
        """Takes the trainer's report."""
        figures = (
            f"loss {state.loss:.3f}  {state.images_per_s:.0f} images/s  "
            f"waiting {state.waiting_share:.0%}"
        )
        epoch = f"{state.epoch + 1}/{state.epochs}"
        self.bar.update(
            self.task, total=state.steps, completed=state.step, epoch=epoch, figures=figures
        )
        if self.bar.disable and self._line_due(state):
            print(
                f"epoch {epoch}  step {state.step}/{state.steps}  {figures}  "
                f"{state.seconds_left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def say(self, stage: str) -> None:
        """Takes the name of a stage that begins."""
        if self.bar.disable:
            print(stage, file=sys.stderr, flush=True)
        else:
            self.bar.console.print(stage, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def _line_due(self, state: "TrainingState") -> bool:
        now = time.monotonic()
        if now - self.shown < LINE_EVERY_S and state.step < state.steps:
            return False
        self.shown = now
        return True
