"""What fits a budget of minutes: how many epochs, and how large a teacher."""

from dataclasses import dataclass, replace

from fgembed.training.costs.stages import Rates, Workload, stage_seconds

USED = 0.8  # share of the budget that is planned: estimates fall short by a fifth on small sets
LEAST_TEACHER = 1.2  # x the size; the next smaller one has hardly more to teach


@dataclass(frozen=True)
class Pick:
    """What is to run.

    Attributes:
        work: with the epochs that fit; with none, nothing is trained.
        seconds: that it takes, estimated.
    """

    work: Workload
    seconds: float


def pick(asked: Workload, rates: Rates, minutes: float) -> Pick:
    """The most of what is asked that fits.

    The epochs asked for are the most. A smaller teacher is taken where less than half of them fit
    beside the larger one, and more beside the smaller.

    Args:
        asked: with the epochs and the teacher of the settings.
        rates: of this machine.
        minutes: the budget.

    Example:
        >>> rates = Rates(decoding_s=0, plain_s=0, mirrored_s=0, epoch_s=60, fit_s=0)
        >>> pick(Workload(images=1000, labelled=0, epochs=8), rates, minutes=5.5).work.epochs
        4
    """
    teachers = [replace(asked, teacher_sizes=sizes) for sizes in _teachers(asked.teacher_sizes)]
    works = [replace(work, epochs=_epochs(work, rates, minutes)) for work in teachers]
    enough = [work for work in works if 2 * work.epochs >= asked.epochs]
    chosen = enough[0] if enough else max(works, key=lambda work: work.epochs)
    return Pick(chosen, sum(stage_seconds(chosen, rates).values()))


def _epochs(work: Workload, rates: Rates, minutes: float) -> int:
    """How many of its epochs fit."""
    for epochs in range(work.epochs, 0, -1):
        seconds = sum(stage_seconds(replace(work, epochs=epochs), rates).values())
        if seconds <= USED * 60 * minutes:
            return epochs
    return 0


def _teachers(sizes: tuple[float, ...]) -> list[tuple[float, ...]]:
    """The sizes of a teacher and of cheaper ones, the dearest first."""
    teachers = [sizes]
    while len(sizes) > 1 and sorted(sizes)[-2] > 1:
        sizes = tuple(size for size in sizes if size < max(sizes))
        teachers.append(sizes)
    if len(sizes) == 1 and sizes[0] > LEAST_TEACHER:
        teachers.append((LEAST_TEACHER,))
    return teachers
