"""How long work reports where it is: callbacks that a command draws and a library call ignores."""

from collections.abc import Callable

ReportStage = Callable[[str], None]  # the name of the stage that begins
ReportCount = Callable[[int, int], None]  # done, total
ReportStep = Callable[[str, int, int], None]  # the stage's name, done, total


def silent(*progress: object) -> None:
    """Takes any progress and does nothing: the default of every callback."""
