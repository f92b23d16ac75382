"""`fgembed evaluate`."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.cli.options import (
    ClutterOption,
    Device,
    DeviceOption,
    JsonOption,
    MaxBadOption,
    Precision,
    PrecisionOption,
    ProviderOption,
    device_name,
)
from fgembed.errors import ConfigError
from fgembed.text import showable

if TYPE_CHECKING:
    from fgembed.evaluation.protocol import Measure

app = typer.Typer(add_completion=False)

ProbeOption = Annotated[
    list[str] | None,
    typer.Option(help="Also train a linear probe: lcr, lodisc or papn; repeatable."),
]
FewLabelsOption = Annotated[
    bool, typer.Option("--few-labels", help="Probe also with 20 and 50 % of the labels.")
]
ProbeViewsOption = Annotated[
    int, typer.Option(min=0, max=100, help="Random views per image for a probe; published: 100.")
]


@app.command()
def evaluate(
    model: Annotated[
        str | None, typer.Argument(help="A run or a bundle; default: the latest run.")
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(help="Labelled images, <folder>/<class>/<image>.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Labelled images to search with; the same: leave-one-out."),
    ] = None,
    probe: ProbeOption = None,
    few_labels: FewLabelsOption = False,
    probe_views: ProbeViewsOption = 0,
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.md, its plots and maps.")
    ] = None,
    floor: Annotated[
        Path | None, typer.Option(help="For a bundle whose run was moved: the run's folder.")
    ] = None,
    include_clutter: ClutterOption = False,
    max_bad: MaxBadOption = 0.5,
    precision: PrecisionOption = Precision.fp32,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a run or a bundle beside its untouched start: the floor table.

    Recall@k, precision@10, mAP, mAP@R and kNN with bootstrap 95 % intervals, and linear probes as
    published.
    --gallery and --queries default to the folders in the run's settings. --report also draws
    recall curves, heat maps, and the method's own maps of its views.

    Example: fgembed evaluate --gallery photos/train --queries photos/test --probe lcr
    """
    from fgembed.cli.extras import require_torch
    from fgembed.cli.tables import print_floor_table

    require_torch()
    from fgembed.disk.text_files import at_home
    from fgembed.evaluation.subject import Subject, measure
    from fgembed.reports.report import prepared_report, report_on

    model = None if model is None else at_home(model)
    subject = Subject.find(
        model, floor, gallery, queries, precision.value, include_clutter=include_clutter
    )
    measures = probes(probe or [], few_labels, probe_views)
    with prepared_report(report, subject) if report else nullcontext():
        table = measure(subject, max_bad, device.value, measures, device_name(device, provider))
        file = report_on(subject, table, report) if report else None
    if as_json:
        import json

        print(json.dumps(table.to_json()))
        return
    print_floor_table(table)
    if file:
        print(f"report: {showable(str(file))}")


def probes(names: Sequence[str], few_labels: bool, views: int) -> "list[Measure]":
    """The probes by name, commas allowed; `few_labels` alone selects `lcr`.

    Raises:
        ConfigError: a name is unknown, or `views` is given without a probe.
    """
    from fgembed.evaluation.probe_protocols import Probe

    selected = [name.strip() for text in names for name in text.split(",")]
    if few_labels and not selected:
        selected = ["lcr"]
    if views and not selected:
        raise ConfigError("--probe-views needs a probe", "add --probe lcr")
    return [Probe(name, few_labels, views) for name in dict.fromkeys(selected)]
