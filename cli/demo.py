"""`fgembed demo`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything; new or empty.")] = Path("demo"),
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="A setting of the training."),
    ] = None,
) -> None:
    """Run the whole job on drawn beetles: draw, train LCR, export, index, search.

    Needs no network and no photographs, and takes a few minutes on two cores. Prints the floor
    table and how often the peak of the rationale falls on the part that decides the species.

    Example: fgembed demo --out demo
    """
    from fgembed.cli.extras import require_torch
    from fgembed.cli.progress import TrainingProgress
    from fgembed.cli.tables import print_floor_table
    from fgembed.resolve import merge, parse_assignment
    from fgembed.text import showable

    require_torch()
    from fgembed.demo.run import run_demo

    overrides: dict[str, object] = {}
    for text in assign or []:
        overrides = merge(overrides, parse_assignment(text))
    with TrainingProgress() as progress:
        result = run_demo(out, overrides, progress.report_stage, progress.report)
    assert result.run.table is not None
    print_floor_table(result.run.table)
    print(f"guard: {result.run.guard.headline()}")
    game = result.pointing
    print(
        f"pointing game, {game.images} test images, peak on the deciding part: learned "
        f"rationale {game.rationale:.1%}, trained activation {game.trained:.1%}, activation of "
        f"the start {game.start:.1%}, centre {game.centre:.1%}, chance {game.chance:.1%}"
    )
    if game.rationale <= game.centre:
        print("here the learned rationale does not find the deciding part: see the heat maps")
    print(f"results page: {showable(str(result.results_page))}")
