"""A finished run: its report is sound, and its files are those that the report is about."""

import shlex
from typing import Any

from fgembed.disk.files import sha256
from fgembed.disk.sealed_files import is_edited_toml, read_sealed_json
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.workspace import RunFolder

REPORT_FORMAT = 2  # earlier reports have neither a format nor checksums


def read_run_report(run: RunFolder) -> dict[str, Any]:
    """The report of a finished run, whose files are those that it was written for.

    Raises:
        NotFoundError: the run is not finished.
        IntegrityError: the report is damaged, or a file is of another run or another state.
    """
    command = f'"fgembed train --resume --run {shlex.quote(str(run.path))}"'
    if not run.report.is_file():
        raise NotFoundError(f"{run.path} is not finished", f"finish it with {command}")
    report = read_sealed_json(run.report, "run report", {REPORT_FORMAT}, command.strip('"'))
    expected = report.get("files", {})
    for name in described_files(run) if "format" in report else ():
        file = run.path / name
        if file == run.config and is_edited_toml(file):
            continue
        if not file.is_file() or sha256(file) != expected.get(name):
            raise IntegrityError(
                f"{file} is not the one that {run.report} is about",
                f"restore it from a copy, or measure the run again with {command}",
            )
    return report


def described_files(run: RunFolder) -> list[str]:
    """The files of a finished run that its report describes, by name below the run's folder."""
    encoders = [run.encoder, run.start]
    files = [run.config, *(e.description for e in encoders), *(e.weights for e in encoders)]
    return [file.relative_to(run.path).as_posix() for file in [*files, run.whitenings]]
