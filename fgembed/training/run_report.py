"""The results of a finished run, as they stand in its `report.json`.

The report is written last, with its own checksum and those of the run's other files. So files of
two runs, or of two states of one run, are not taken for one run.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from fgembed.disk.files import sha256
from fgembed.disk.sealed_files import write_sealed_json
from fgembed.evaluation.finished_run import REPORT_FORMAT, described_files
from fgembed.evaluation.floor_table import FloorTable, Selected
from fgembed.evaluation.guard import Verdict
from fgembed.evaluation.label_free import Figures
from fgembed.images.kinds.passed_over import PassedOver
from fgembed.images.skipped import Skipped
from fgembed.training.labels.label_groups import LabelCounts
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class RunReport:
    """The results of a finished run; `report.json`.

    Attributes:
        method: its name.
        images: how many were trained on.
        held_out: how many more were held out to select the epoch.
        selected: the epoch; None if the last one is kept.
        skipped: the images that could not be read.
        start: figures of the untouched start, whitened.
        trained: figures of the run's encoder.
        table: the scores, where there are labelled images.
        guard: whether the run is better than its start.
        passed_over: images that are clutter.
        labels: that the run was given, if any.
    """

    method: str
    images: int
    held_out: int
    selected: Selected | None
    skipped: list[Skipped]
    start: Figures
    trained: Figures
    table: FloorTable | None
    guard: Verdict
    passed_over: PassedOver = field(default_factory=PassedOver)
    labels: LabelCounts | None = None

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        counts = {"skipped": len(self.skipped), "passed_over": self.passed_over.images}
        return asdict(self) | counts


def write_run_report(run: RunFolder, report: RunReport) -> None:
    """Writes `report.json`, which makes the run a finished one."""
    checksums = {name: sha256(run.path / name) for name in described_files(run)}
    content = {"format": REPORT_FORMAT} | report.to_json() | {"files": checksums}
    write_sealed_json(run.report, content)
