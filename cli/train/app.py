"""`fgembed train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fgembed.cli.options import ClutterOption, Device, JsonOption
from fgembed.methods import method_names
from fgembed.resolve import recipe_names

app = typer.Typer(add_completion=False)

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Any setting; repeatable."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only estimate time and memory; write nothing.")
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        metavar="MINUTES",
        help="At most so long: as many of optimiser.epochs, and as large a teacher, as fit.",
    ),
]
SelectOption = Annotated[
    str | None,
    typer.Option(
        help="The epoch to keep: last, holdout (the best on held-out images, needs class folders), "
        "or test (the best on the test images, as papers do: biased)."
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER|CSV",
        help="A few labelled images: class folders, a table with the columns path and label, or "
        "pairs with first, second and same. They change the last layer and what a distilled run "
        "learns.",
    ),
]


@app.command()
def train(
    images: Annotated[Path | None, typer.Option(help="Folder of training photographs.")] = None,
    labels: LabelsOption = None,
    method: Annotated[str | None, typer.Option(help=", ".join(method_names()) + ".")] = None,
    backbone: Annotated[str | None, typer.Option(help="Such as torchvision/resnet50.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="pretrained, random, or a .safetensors or .pt file.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=", ".join(recipe_names()) + ", or a TOML file."),
    ] = None,
    assign: SetOption = None,
    run: Annotated[str | None, typer.Option(help="Name of the run; default: numbered.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a killed run (the latest, or --run).")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Settings file; default: fgembed.toml.")
    ] = None,
    dry_run: DryRunOption = False,
    budget: BudgetOption = None,
    device: Annotated[Device | None, typer.Option(help="auto, cpu or cuda.")] = None,
    select: SelectOption = None,
    include_clutter: ClutterOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train an encoder on photographs without labels, and compare it with its start.

    Settings come from flags and --set, then fgembed.toml, then the recipe. The run folder
    runs/NAME can be resumed after a kill; runs/latest points to it (on a disk without links it is a
    file that names it). A run below its floor, the
    calibrated start, ends with that verdict, and fgembed export refuses it. A new run first tells
    what its encoder and its stages will cost on this machine.

    Example: fgembed train --backbone torchvision/mobilenet_v2 --set optimiser.epochs=5
    """
    from fgembed.cli.extras import require_torch
    from fgembed.cli.train.dry_run import start_dry_run
    from fgembed.cli.train.run import start_run
    from fgembed.resolve import merge, parse_assignment

    require_torch()
    flags: dict[str, Any] = {
        "images": str(images) if images else None,
        "labels": str(labels) if labels else None,
        "recipe": recipe,
        "device": device.value if device else None,
        "select": select,
        "include_clutter": include_clutter or None,
        "method": {"name": method} if method else None,
        "backbone": {k: v for k, v in (("name", backbone), ("weights", weights)) if v} or None,
    }
    overrides = {key: value for key, value in flags.items() if value is not None}
    for text in assign or []:
        overrides = merge(overrides, parse_assignment(text))
    start = start_dry_run if dry_run else start_run
    start(overrides, config, run, resume, as_json, budget)
