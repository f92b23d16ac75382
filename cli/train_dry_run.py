"""What `train --dry-run` prints: TOML that reruns the settings, the estimate as its comments."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgembed.errors import ConfigError

if TYPE_CHECKING:
    from fgembed.training.dry_run import Estimate, Parameters


def start_dry_run(
    overrides: dict[str, Any], config: Path | None, name: str | None, resume: bool, as_json: bool
) -> None:
    """Estimates a new run and prints what it would take.

    Raises:
        FgembedError: what the run itself would refuse before its training.
    """
    from fgembed.cli.train_run import settings_and_folder
    from fgembed.methods.table import method_named
    from fgembed.training.dry_run import dry_run

    if resume:
        raise ConfigError(
            "--dry-run tells of a new run only", "leave out --resume, or go on without --dry-run"
        )
    settings, _ = settings_and_folder(overrides, config, name, resume)
    method = method_named(settings.method.name)
    estimate = dry_run(settings, method, lambda stage: print(stage, file=sys.stderr, flush=True))
    if as_json:
        print(json.dumps(estimate.to_json()))
    else:
        print_estimate(estimate)


def print_estimate(estimate: "Estimate") -> None:
    """Comments and settings, one TOML file that can be given to `--config`."""
    from fgembed.config import config_text

    method = estimate.config.method.name
    print(f"# a dry run of {method} on {estimate.device}; nothing was written")
    for name, text in summary(estimate).items():
        print(f"# {name:12} {text}")
    print()
    print(_escaped(config_text(estimate.config)), end="")


def summary(estimate: "Estimate") -> dict[str, str]:
    """The estimate in words, line by line."""
    lines = {
        "pictures": f"{estimate.images} found, not yet checked",
        "trained": _trained(estimate.parameters),
        "not trained": _not_trained(estimate.parameters),
    }
    pace = estimate.pace
    if pace is None:
        lines["training"] = "none; the run goes straight to whitening and measuring"
    else:
        lines |= {
            "steps": f"{estimate.steps_per_epoch:,} an epoch, {estimate.steps:,} in all",
            "one step": f"{pace.step_s + pace.waiting_s:.3g} s, {pace.waiting_s:.3g} s of it "
            f"waiting for pictures (measured on {pace.measured})",
            "training": f"about {_duration(estimate.training_s)}; checking the pictures, "
            "whitening and measuring come on top",
            "checkpoint": f"{_size(estimate.checkpoint_bytes)} on disk",
        }
    memory = estimate.peak_memory_bytes
    known = "not known on this system" if memory is None else _size(memory)
    return lines | {"peak memory": f"{known}, of {estimate.peak_memory_of}"}


def _trained(count: "Parameters") -> str:
    own = f", {count.separate_adam:,} by an Adam of their own" if count.separate_adam else ""
    return f"{count.encoder:,} encoder, {count.heads:,} heads{own}"


def _not_trained(count: "Parameters") -> str:
    return f"{count.key_copies:,} key copies, {count.fixed:,} fixed, {count.buffers:,} buffers"


def _size(count: int) -> str:
    """`41.2 MB`, of 1000 x 1000 bytes as disks are."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    """`45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _escaped(toml: str) -> str:
    """The same TOML; what a terminal could take as a command is spelt out."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\U{ord(c):08x}" for c in toml)
