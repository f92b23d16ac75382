"""Progress on stderr: a bar on a terminal, a line every `LINE_EVERY_S` elsewhere."""

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fgembed.text import showable

if TYPE_CHECKING:
    from fgembed.training.loop import Progress as TrainingState

LINE_EVERY_S = 30


def _tell(line: str) -> None:
    with suppress(OSError):  # work goes on without those who no longer listen
        print(line, file=sys.stderr, flush=True)


def print_stage(stage: str) -> None:
    """Prints the name of the stage that begins."""
    _tell(showable(stage))


class _Bar:
    """One task's bar; where there is no terminal, lines at least `LINE_EVERY_S` apart."""

    def __init__(self, name: str) -> None:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task(name, total=None, figures="")
        self.shown = time.monotonic()

    def report_stage(self, stage: str) -> None:
        """Shows the name of the stage that begins."""
        if self.bar.disable:
            _tell(showable(stage))
        else:
            self.bar.console.print(showable(stage), markup=False, highlight=False)

    def line(self, text: str, *, last: bool) -> None:
        """Prints a line where there is no bar, if one is due or it is the last."""
        now = time.monotonic()
        if self.bar.disable and (last or now - self.shown >= LINE_EVERY_S):
            self.shown = now
            _tell(text)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


class TrainingProgress(_Bar):
    """Shows steps, loss, images per second, time left and the share of time spent on data."""

    def __init__(self) -> None:
        super().__init__("train")

    def report(self, state: "TrainingState") -> None:
        """Shows the state of the training."""
        figures = (
            f"loss {state.loss:.3f}  {state.images_per_s:.0f} images/s  "
            f"waiting {state.waiting_share:.0%}"
        )
        epoch = f"epoch {state.epoch + 1}/{state.epochs}"
        self.bar.update(
            self.task, description=epoch, total=state.steps, completed=state.step, figures=figures
        )
        self.line(
            f"{epoch}  step {state.step}/{state.steps}  {figures}  {state.seconds_left:.0f} s left",
            last=state.step >= state.steps,
        )


class ImageProgress(_Bar):
    """Shows how many images are done, the rate, and the time left."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.started: float | None = None

    def report(self, done: int, total: int) -> None:
        """Shows the count of images done; the clock starts at the first call."""
        now = time.monotonic()
        if self.started is None:
            self.started = now
        if now == self.started:  # no time has passed, so there is no rate
            self.bar.update(self.task, total=total, completed=done, figures="")
            return
        rate = done / (now - self.started)
        self.bar.update(self.task, total=total, completed=done, figures=f"{rate:.0f}/s")
        remaining_s = (total - done) / max(rate, 1e-9)
        self.line(
            f"{self.name}  {done}/{total}  {rate:.0f}/s  {remaining_s:.0f} s left", last=False
        )


class StageProgress(ImageProgress):
    """Shows stages one after another, each with its count, rate and time left."""

    def __init__(self) -> None:
        super().__init__("")

    def stage(self, name: str, done: int, total: int) -> None:
        """Shows a stage and the count of what is done in it."""
        if name != self.name:
            self.name, self.started = name, None
            self.bar.update(self.task, description=name)
        self.report(done, total)
