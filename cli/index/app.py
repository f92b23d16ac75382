"""`fgembed index`: the commands that build, change, check and export an index."""

import typer

from fgembed.cli.index.add import add
from fgembed.cli.index.build import build
from fgembed.cli.index.change import compact, remove
from fgembed.cli.index.export import export
from fgembed.cli.index.relocate import relocate
from fgembed.cli.index.state import duplicates, info, verify
from fgembed.cli.index.tune import tune

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def index() -> None:
    """Build and maintain the index that `fgembed search` searches."""


for command in (build, add, remove, relocate, compact, info, verify, tune, duplicates, export):
    app.command()(command)
