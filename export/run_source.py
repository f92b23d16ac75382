"""What is exported: a finished run's encoder, or its calibrated start, that passed the guard."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fgembed.disk.sealed_files import read_sealed_toml
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.evaluation.finished_run import read_run_report
from fgembed.evaluation.floor_table import FloorTable, Selected
from fgembed.evaluation.guard import (
    START_ITSELF,
    Verdict,
    of_the_start_in_place_of,
    refuse_below_floor,
    verdict_in,
)
from fgembed.evaluation.protocol import Split
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.encoder_files import load_encoder
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class Source:
    """A run as an export needs it.

    Attributes:
        run: the run folder.
        folder: with the encoder's files: the run, or its start.
        encoder: the encoder, in eval mode.
        spec: its preprocessing.
        method: how it was trained; `none` is the calibrated start.
        settings: of the run, resolved.
        report: the run's `report.json`.
        verdict: the guard's.
    """

    run: Path
    folder: Path
    encoder: Encoder
    spec: Preprocessing
    method: str
    settings: dict[str, Any]
    report: dict[str, Any]
    verdict: Verdict

    @classmethod
    def open(cls, run: Path, *, start: bool = False, force: bool = False) -> Self:
        """Reads a finished run, or its start where the guard ships that.

        Args:
            run: the run folder.
            start: export the run's calibrated start instead.
            force: take the run even if it is below its floor, or not known to be above it.

        Raises:
            NotFoundError: the run is not finished.
            IntegrityError: a file of it is damaged.
            FgembedError: the run is below its floor.
        """
        settings = read_sealed_toml(RunFolder(run).config, "file of settings")
        report = _read_report(run)
        verdict = START_ITSELF if start else verdict_in(report, run)
        if not force:
            refuse_below_floor(verdict, run)
            if verdict.ships_start:
                start, verdict = True, of_the_start_in_place_of(run)
        folder = RunFolder(run).start.path if start else run
        encoder, spec = load_encoder(folder)
        method = "none" if start else str(settings["method"]["name"])
        return cls(
            run=run,
            folder=folder,
            encoder=encoder,
            spec=spec,
            method=method,
            settings=settings,
            report=report,
            verdict=verdict,
        )

    def torch_recall(self) -> float | None:
        """Recall@1 of this encoder through torch, in 0..1; None if the run did not measure it."""
        if self.report.get("table") is None:
            return None
        table = FloorTable.from_json(self.report["table"])
        row = table.trained if self.folder == self.run else table.calibrated_start
        return row.scores["recall@1"].value

    def labelled(self, folders: tuple[Path, Path] | None) -> Split | None:
        """The labelled images of a gallery and a queries folder.

        Without `folders` they are those of the run's settings; None if these have none, or if they
        no longer exist.

        Raises:
            FgembedError: one of `folders` is missing; images are not in class folders.
        """
        clutter = bool(self.settings.get("include_clutter"))
        if folders is not None:
            return Split.find(*folders, include_clutter=clutter)
        settings = self.settings.get("eval", {})
        if not settings.get("gallery") or not settings.get("queries"):
            return None
        try:
            folders = Path(settings["gallery"]), Path(settings["queries"])
            return Split.find(*folders, include_clutter=clutter)
        except NotFoundError:
            return None


def _read_report(run: Path) -> dict[str, Any]:
    file = RunFolder(run).report
    command = f'"fgembed train --resume --run {shlex.quote(str(run))}"'
    report = read_run_report(RunFolder(run))
    try:
        selected, table = report.get("selected"), report.get("table")
        sound = isinstance(report["images"], int)
        sound &= selected is None or bool(Selected(**selected))
        sound &= table is None or bool(FloorTable.from_json(table).rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{file} is damaged: {error!r}", f"measure it again with {command}"
        ) from None
    if not sound:
        raise IntegrityError(f"{file} is damaged", f"measure it again with {command}")
    return report
