"""Callbacks for the progress of long work: commands draw it, library calls ignore it."""

from collections.abc import Callable

ReportStage = Callable[[str], None]  # the name of the stage that begins
ReportCount = Callable[[int, int], None]  # done, total
ReportStep = Callable[[str, int, int], None]  # the stage's name, done, total


def silent(*progress: object) -> None:
    """Ignores the progress: the default of every callback."""
