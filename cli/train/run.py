"""`fgembed train`: from settings to a run folder, the training, and its report."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgembed.cli.left_out import print_left_out
from fgembed.disk.latest import check_latest
from fgembed.errors import ConfigError
from fgembed.text import showable
from fgembed.workspace import CONFIG, LATEST, RUNS, RunFolder, find_run

if TYPE_CHECKING:
    from fgembed.config import RunConfig
    from fgembed.training.run_report import RunReport


def start_run(
    overrides: dict[str, Any],
    config: Path | None,
    name: str | None,
    resume: bool,
    as_json: bool,
    budget_min: float | None = None,
) -> None:
    """Trains a new run, or resumes one, and prints its report.

    Raises:
        FgembedError: see `fgembed.training.run.run_training`.
    """
    from fgembed.cli.train.cost import check_budget, told
    from fgembed.training.claim import check_free, claimed, new_run

    if budget_min is not None:
        check_budget(budget_min)
    with ExitStack() as stack:
        if resume:
            settings, folder = _settings_to_resume(overrides, config, name, budget_min)
            stack.enter_context(claimed(folder))  # before torch is imported, which takes seconds
        else:
            settings = new_settings(overrides, config, name)
        from fgembed.cli.progress import TrainingProgress
        from fgembed.methods.table import method_named
        from fgembed.training.run import run_training

        if not resume:
            check_latest(LATEST)
            if name is not None:
                check_free(RUNS / name)
            settings = told(settings, budget_min)
            folder = stack.enter_context(new_run(settings.method.name, name))
        method = method_named(settings.method.name)
        with TrainingProgress() as progress:
            report = run_training(settings, method, folder, progress.report, progress.report_stage)
    print_report(report, folder, as_json)


def new_settings(overrides: dict[str, Any], config: Path | None, name: str | None) -> "RunConfig":
    """The settings of a new run.

    Raises:
        FgembedError: a setting is wrong, or `name` is no name of a run.
    """
    from fgembed.resolve import resolve

    where = "settings" if overrides else str(config or CONFIG)
    settings = resolve(_workspace_settings(config), overrides, where)
    if name is not None and (name in ("", ".", "..", LATEST.name) or Path(name).name != name):
        raise ConfigError(
            f"--run {name!r} is no name of a folder in {RUNS}", "give a name without slashes"
        )
    return settings


def _settings_to_resume(
    overrides: dict[str, Any], config: Path | None, name: str | None, budget_min: float | None
) -> tuple["RunConfig", Path]:
    from fgembed.config import read_config

    if budget_min is not None:
        raise ConfigError(
            "--budget picks the settings of a new run, and --resume uses the run's own",
            "leave out --budget, or start a new run",
        )
    if overrides or config:
        raise ConfigError(
            "--resume uses the run's own settings", "leave out the others, or start a new run"
        )
    folder = find_run(name)
    return read_config(RunFolder(folder).config), folder


def print_report(report: "RunReport", folder: Path, as_json: bool) -> None:
    """Prints the results of a run, floors first."""
    from fgembed.cli.tables import print_floor_table

    if as_json:
        print(json.dumps({"run": str(folder)} | report.to_json()))
        return
    print(f"{showable(str(folder))}: {report.method} on {report.images} images")
    print_left_out(report.skipped, report.passed_over, RunFolder(folder).skipped)
    if report.labels is not None:
        print(report.labels.sentence())
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
