"""The guard's verdict on a run that has learned something."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fgembed.evaluation.floor_table import FloorTable
from fgembed.evaluation.guard import Verdict, judged_by_labels, judged_by_views
from fgembed.evaluation.label_free import score_views
from fgembed.progress import ReportStage
from fgembed.questions import Answer
from fgembed.training.calibration import Embedders
from fgembed.training.preparation import Prepared, trains


def judged(
    prepared: Prepared,
    paths: Sequence[Path],
    embedders: Embedders,
    table: FloorTable | None,
    report_stage: ReportStage,
) -> Verdict:
    """The verdict by the labels of the table, else by gentle views of the training images.

    Args:
        prepared: the run's settings, method and labels.
        paths: the training images.
        embedders: of start and run, fitted.
        table: the scores, where there are labelled images to search.
        report_stage: takes the name of the stage.
    """
    if table is not None:
        return judged_by_labels(table)
    report_stage("comparing with the start, without labels")
    may_mirror = prepared.config.things.mirror != Answer.no
    start = score_views(embedders.start, paths, may_mirror)
    trained = score_views(embedders.trained, paths, may_mirror)
    return judged_by_views(trained, start, _taught_by(prepared))


def _taught_by(prepared: Prepared) -> Literal["its start", "labels alone"] | None:
    """What a run has learned from, where that was measured to lose nothing."""
    if not trains(prepared.config, prepared.method):
        return "labels alone" if prepared.labels else None
    return "its start" if prepared.method.takes_targets else None
