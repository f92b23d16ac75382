"""How long the stages of a run take, estimated from what was measured on a few images."""

from dataclasses import dataclass

from fgembed.evaluation.label_free import FIGURE_IMAGES, VIEW_GALLERY, VIEW_QUERIES
from fgembed.model.calibration import SAMPLE

CHECKING, TEACHING, TRAINING = "checking the images", "reading the teacher", "training"
FITTING, MEASURING = "fitting the last layers", "measuring"


@dataclass(frozen=True)
class Rates:
    """What was measured, in seconds on this machine.

    Attributes:
        decoding_s: of an image, read and decoded.
        plain_s: of an image through the network at the run's size.
        mirrored_s: of an image and its mirror image.
        epoch_s: of the training, the waits for images counted.
        fit_s: of a last layer's closed form, once the images are read.
        others_s: of an image by all teachers beside the start.
    """

    decoding_s: float
    plain_s: float
    mirrored_s: float
    epoch_s: float
    fit_s: float
    others_s: float = 0.0

    def read_s(self, mirror: bool, scale: float = 1.0) -> float:
        """Of an image, at `scale` times the run's size."""
        return self.decoding_s + scale**2 * (self.mirrored_s if mirror else self.plain_s)


@dataclass(frozen=True)
class Workload:
    """What a run does.

    Attributes:
        images: how many it trains on.
        labelled: how many queries and gallery images it is scored on; 0 for none.
        epochs: of the training; 0 if nothing is trained.
        teacher_sizes: at which the teacher reads the images, relative; empty without a teacher.
        larger: relative size of the second reading that a fit predicts; 1 for none.
        start_mirror: whether the start, which is the teacher, reads the mirror image.
        mirror: whether the run's encoder does.
    """

    images: int
    labelled: int
    epochs: int
    teacher_sizes: tuple[float, ...] = ()
    larger: float = 1.0
    start_mirror: bool = True
    mirror: bool = True


def stage_seconds(work: Workload, rates: Rates) -> dict[str, float]:
    """Seconds of each stage, in their order; a stage that the run has not is left out.

    Example:
        >>> rates = Rates(decoding_s=0.0, plain_s=1, mirrored_s=2, epoch_s=60, fit_s=0)
        >>> stage_seconds(Workload(images=10, labelled=5, epochs=0, larger=2), rates)
        {'checking the images': 0.0, 'fitting the last layers': 100.0, 'measuring': 130.0}
    """
    stages = {CHECKING: work.images * rates.decoding_s}
    if work.epochs and (work.teacher_sizes or rates.others_s):
        stages[TEACHING] = _teaching_s(work, rates)
    if work.epochs:
        stages[TRAINING] = work.epochs * rates.epoch_s
    return stages | {FITTING: _fitting_s(work, rates), MEASURING: _measuring_s(work, rates)}


def _teaching_s(work: Workload, rates: Rates) -> float:
    """The teacher's readings of all images, each with a fit, and the student's, which begins it."""
    readings = [rates.read_s(work.start_mirror, size) for size in work.teacher_sizes]
    readings.append(rates.read_s(mirror=False))
    predicted = 0.0
    if work.teacher_sizes == (1.0,) and work.larger > 1:  # then it predicts the larger size
        predicted = min(work.images, SAMPLE) * rates.read_s(work.start_mirror, work.larger)
    images_s = work.images * (sum(readings) + rates.others_s)
    return images_s + predicted + len(readings) * rates.fit_s


def _fitting_s(work: Workload, rates: Rates) -> float:
    """The fits of the start and, if it is trained, of the run; a student's predicts the teacher."""
    fits = [(work.start_mirror, work.larger)]
    if work.epochs:
        is_taught = bool(work.teacher_sizes or rates.others_s)
        fits.append((work.mirror, 1.0 if is_taught else work.larger))
    readings = [rates.read_s(mirror) for mirror, _ in fits]
    readings += [rates.read_s(mirror, larger) for mirror, larger in fits if larger > 1]
    return min(work.images, SAMPLE) * sum(readings) + len(fits) * rates.fit_s


def _measuring_s(work: Workload, rates: Rates) -> float:
    """The scores with labels, else a comparison on views; and the figures without labels."""
    of_start, of_run = rates.read_s(work.start_mirror), rates.read_s(work.mirror)
    views = min(work.images, VIEW_GALLERY) + min(work.images, VIEW_QUERIES)
    figures = 3 * min(work.images, FIGURE_IMAGES)  # images and two views of each
    if not work.epochs:
        return (work.labelled + 2 * figures) * of_start
    return ((work.labelled or views) + figures) * (of_start + of_run)
