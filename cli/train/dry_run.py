"""`train --dry-run`: prints the settings as TOML and the estimate as comments in it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from fgembed.cli.train.cost import cost_lines
from fgembed.errors import ConfigError
from fgembed.workspace import RUNS

if TYPE_CHECKING:
    from fgembed.training.dry_run import Estimate, Parameters


def start_dry_run(
    overrides: dict[str, Any],
    config: Path | None,
    name: str | None,
    resume: bool,
    as_json: bool,
    budget_min: float | None = None,
) -> None:
    """Estimates a new run and prints the estimate; with a budget, of what fits it.

    Raises:
        FgembedError: what the run itself would refuse before its training.
    """
    from fgembed.cli.train.cost import check_budget, fitted, tell
    from fgembed.cli.train.run import new_settings
    from fgembed.methods.table import method_named
    from fgembed.training.claim import check_free
    from fgembed.training.dry_run import dry_run

    if resume:
        raise ConfigError(
            "--dry-run estimates a new run only", "leave out --resume, or resume without --dry-run"
        )
    if budget_min is not None:
        check_budget(budget_min)
    settings = new_settings(overrides, config, name)
    if name is not None:
        check_free(RUNS / name)
    method = method_named(settings.method.name)
    estimate = dry_run(settings, method, tell)
    if budget_min is not None:
        estimate = fitted(estimate, budget_min)
    if as_json:
        print(json.dumps(estimate.to_json()))
    else:
        print_estimate(estimate)


def print_estimate(estimate: "Estimate") -> None:
    """Prints a TOML file for `--config`: the estimate as comments, then the settings."""
    from fgembed.config import config_text

    method = estimate.config.method.name
    print(f"# a dry run of {method} on {estimate.device}; nothing was written")
    for name, text in summary(estimate).items():
        if text:
            print(f"# {name:12} {text}")
    for line in ["", *cost_lines(estimate)]:
        print(f"#   {line}".rstrip())
    print()
    print(_escaped(config_text(estimate.config)), end="")


def summary(estimate: "Estimate") -> dict[str, str]:
    """The lines of the estimate, by their titles."""
    lines = {
        "images": f"{estimate.images}, not yet checked",
        "clutter": estimate.passed_over.sentence() if estimate.passed_over.images else "",
        "trained": _trained(estimate.parameters),
        "not trained": _not_trained(estimate.parameters),
    }
    pace = estimate.pace
    if pace is None:
        lines["training"] = "none: only whitening and measuring"
    else:
        lines |= {
            "steps": f"{estimate.steps_per_epoch:,} per epoch, {estimate.steps:,} in total",
            "one step": f"{pace.step_s + pace.waiting_s:.3g} s, {pace.waiting_s:.3g} s of it "
            f"waiting for images (measured on {pace.measured})",
            "training": f"about {_duration(estimate.training_s)}",
            "checkpoint": f"{decimal(estimate.checkpoint_bytes)} on disk",
        }
    memory = estimate.peak_memory_bytes
    peak = "unknown on this system" if memory is None else decimal(memory)
    return lines | {"peak memory": f"{peak}, of {estimate.peak_memory_of}"}


def _trained(count: "Parameters") -> str:
    decoder = f", {count.separate_adam:,} with a separate Adam" if count.separate_adam else ""
    return f"{count.encoder:,} encoder, {count.heads:,} heads{decoder}"


def _not_trained(count: "Parameters") -> str:
    return f"{count.key_copies:,} key copies, {count.fixed:,} fixed, {count.buffers:,} buffers"


def _duration(seconds: float) -> str:
    """`45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _escaped(toml: str) -> str:
    """The same TOML with characters escaped that are not to be printed, or cannot be."""
    encoding = sys.stdout.encoding or "utf-8"

    def is_shown(letter: str) -> bool:
        printable = letter.isprintable() and letter.encode(encoding, "replace") != b"?"
        return printable or letter in "?\n"

    return "".join(c if is_shown(c) else f"\\U{ord(c):08x}" for c in toml)
