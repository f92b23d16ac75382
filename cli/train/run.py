"""`fgembed train`: from settings to a run folder, the training, and its report."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgembed.cli.left_out import print_left_out
from fgembed.errors import ConfigError, FgembedError
from fgembed.text import showable
from fgembed.workspace import CONFIG, LATEST, RUNS, RunFolder, find_run, new_run_name

if TYPE_CHECKING:
    from fgembed.config import RunConfig
    from fgembed.training.run_report import RunReport


def start_run(
    overrides: dict[str, Any], config: Path | None, name: str | None, resume: bool, as_json: bool
) -> None:
    """Trains a new run, or resumes one, and prints its report.

    Raises:
        FgembedError: see `fgembed.training.run.run_training`.
    """
    from fgembed.cli.progress import TrainingProgress
    from fgembed.methods.table import method_named
    from fgembed.training.run import run_training

    settings, folder = settings_and_folder(overrides, config, name, resume)
    method = method_named(settings.method.name)
    with TrainingProgress() as progress:
        report = run_training(settings, method, folder, progress.report, progress.report_stage)
    print_report(report, folder, as_json)


def settings_and_folder(
    overrides: dict[str, Any], config: Path | None, name: str | None, resume: bool
) -> tuple["RunConfig", Path]:
    """The settings of a run, and its folder.

    Raises:
        FgembedError: a setting is wrong, the run to resume is missing, or the folder exists.
    """
    from fgembed.config import RunConfig, validate
    from fgembed.disk.files import read_toml
    from fgembed.resolve import resolve

    if resume:
        if overrides or config:
            raise ConfigError(
                "--resume uses the run's own settings",
                "leave out the others, or start a new run",
            )
        folder = find_run(name)
        return validate(RunConfig, read_toml(RunFolder(folder).config), str(folder)), folder
    where = "settings" if overrides else str(config or CONFIG)
    settings = resolve(_workspace_settings(config), overrides, where)
    name = name or new_run_name(settings.method.name)
    folder = RUNS / name
    if Path(name).name != name or name == ".." or folder == LATEST:
        raise ConfigError(
            f"--run {name!r} is no name of a folder in {RUNS}", "give a name without slashes"
        )
    if folder.exists():
        raise FgembedError(
            f"{folder} exists", "resume it with --resume, or give another --run NAME"
        )
    return settings, folder


def print_report(report: "RunReport", folder: Path, as_json: bool) -> None:
    """Prints the results of a run, floors first."""
    from fgembed.cli.tables import print_floor_table

    if as_json:
        print(json.dumps({"run": str(folder)} | report.to_json()))
        return
    print(f"{showable(str(folder))}: {report.method} on {report.images} images")
    print_left_out(report.skipped, report.passed_over, RunFolder(folder).skipped)
    if report.selected is not None:
        print(report.selected.sentence())
    print("without labels                 effective rank   alignment   uniformity")
    for name, figures in (("start, whitened", report.start), ("this run", report.trained)):
        print(
            f"  {name:28s} {figures.effective_rank:14.1f} {figures.alignment:11.3f} "
            f"{figures.uniformity:12.3f}"
        )
    if report.table is not None:
        print_floor_table(report.table)
    else:
        print("no scores: set eval.gallery and eval.queries to labelled folders")
    print(f"guard: {showable(report.guard.headline())}")
    if report.guard.outcome == "below":
        print('next: "fgembed export --start", or train more gently; --force exports this run')
    else:
        print('next: "fgembed export --onnx"')


def _workspace_settings(config: Path | None) -> dict[str, Any]:
    from fgembed.disk.files import read_toml

    if config is None and not CONFIG.is_file():
        return {}
    return read_toml(config or CONFIG)
