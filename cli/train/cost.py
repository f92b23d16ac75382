"""Tells what a run will cost, and takes of it what fits a budget."""

import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

from fgembed.cli.tables import SPEED, plain_lines
from fgembed.errors import ConfigError

if TYPE_CHECKING:
    from fgembed.config import RunConfig
    from fgembed.training.costs.budget import Pick
    from fgembed.training.dry_run import Estimate


STEPS_S = 5.0  # that a new run takes steps for, to tell its cost


def check_budget(minutes: float) -> None:
    """Refuses what is no time.

    Raises:
        ConfigError: it is not above zero, or not finite.
    """
    if not 0 < minutes < float("inf"):
        raise ConfigError(
            f"--budget {minutes:g} is no time to train in", "give minutes, such as --budget 20"
        )


def told(settings: "RunConfig", budget_min: float | None) -> "RunConfig":
    """Tells what a new run will cost; gives its settings, with a budget those that fit it.

    Raises:
        FgembedError: what the run itself would refuse before its training.
    """
    from fgembed.methods.table import method_named
    from fgembed.training.costs.estimate import with_pick
    from fgembed.training.dry_run import dry_run

    tell("measuring what this costs here, on a few images and steps")
    method = method_named(settings.method.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the run itself gives them
        estimate = dry_run(settings, method, limit_s=STEPS_S)
    if budget_min is not None:
        estimate = fitted(estimate, budget_min)
        settings = with_pick(settings, estimate.work)
    for line in cost_lines(estimate):
        tell(f"  {line}".rstrip())
    return settings


def fitted(estimate: "Estimate", budget_min: float) -> "Estimate":
    """The estimate of what fits a budget; says in a line what that is."""
    from fgembed.training.costs.budget import pick
    from fgembed.training.costs.estimate import with_pick

    assert estimate.rates is not None  # invariant: a dry run has read an image
    picked = pick(estimate.work, estimate.rates, budget_min)
    tell(budget_line(budget_min, estimate, picked))
    return replace(
        estimate,
        config=with_pick(estimate.config, picked.work),
        work=picked.work,
        steps=estimate.steps_per_epoch * picked.work.epochs,
    )


def cost_lines(estimate: "Estimate") -> list[str]:
    """The encoder's speed beside its siblings', then the minutes of each stage."""
    columns = ["encoder", "px", "mirror", "levels", "D", SPEED]
    encoders = [
        [
            cost.name,
            str(cost.size),
            "yes" if cost.mirror else "no",
            str(cost.levels),
            str(cost.dimensions),
            cost.speed.cell(),
        ]
        for cost in estimate.encoders.values()
    ]
    lines = plain_lines(columns, encoders, right=set(columns[1:])) if encoders else []
    seconds = estimate.stages
    stages = [[_stage(name, estimate), minutes(value)] for name, value in seconds.items()]
    if stages:
        stages.append(["in all", minutes(sum(seconds.values()))])
        lines += ["", *plain_lines(["stage", "minutes"], stages, right={"minutes"})]
    return lines


def budget_line(budget_min: float, asked: "Estimate", picked: "Pick") -> str:
    """What was picked for a budget, and how long it takes."""
    work, wanted = picked.work, asked.work
    about = f"about {minutes(picked.seconds)} min in all"
    start = f"budget of {budget_min:g} min"
    if not wanted.epochs:
        return f"{start}: nothing is to be trained, {about}"
    if not work.epochs:
        return f"{start}: no epoch fits, nothing is trained, the run is the fitted start, {about}"
    fits = "fits" if wanted.epochs == 1 else "fit"
    epochs = f"{work.epochs} of {wanted.epochs} epochs" if work.epochs < wanted.epochs else "all"
    if epochs == "all":
        epochs = f"all {wanted.epochs} epochs" if wanted.epochs > 1 else "the one epoch"
    smaller = work.teacher_sizes != wanted.teacher_sizes
    teacher = f" with a teacher of {_sizes(work.teacher_sizes)}" * smaller
    return f"{start}: {epochs} {fits}{teacher}, {about}"


def minutes(seconds: float) -> str:
    """`< 0.1`, `0.3` or `12`."""
    in_minutes = seconds / 60
    if in_minutes < 0.05:
        return "< 0.1"
    return f"{in_minutes:.1f}" if in_minutes < 10 else f"{in_minutes:,.0f}"


def tell(line: str) -> None:
    """Prints a line for people, beside what is for programs."""
    print(line, file=sys.stderr, flush=True)


def _stage(name: str, estimate: "Estimate") -> str:
    from fgembed.training.costs.stages import TEACHING, TRAINING

    if name == TRAINING:
        return f"{name}, {estimate.work.epochs} x {estimate.steps_per_epoch:,} steps"
    if name == TEACHING and estimate.work.teacher_sizes:
        return f"{name}, {_sizes(estimate.work.teacher_sizes)}"
    return name


def _sizes(sizes: tuple[float, ...]) -> str:
    return f"{', '.join(f'{size:g}' for size in sizes)} x the size"
