"""`fgembed index`: the commands that make, change, check and hand on an index."""

import typer

from fgembed.cli.index_build import build
from fgembed.cli.index_change import add, compact, remove

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def index() -> None:
    """Make and keep the index that `fgembed search` looks things up in."""


for command in (build, add, remove, compact):
    app.command()(command)
