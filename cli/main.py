"""Entry point: the table of commands, and what makes a command start fast.

`fgembed search` is typed by hand and called by scripts once an image, so its start is part of its
speed (`benchmarks/search_start.py`: about 1.1 times a ten-line script). What the code does for
it, all of it measured:

- A command's module is imported when the command is called (`LazyGroup`), and imports what is
  heavy (numpy, FAISS, ONNX Runtime, torch) inside its functions. Typer stays below 0.29, which
  imports pydantic for every command: 0.13 s a search (pyproject.toml).
- `search`, `index` and `embed` never import torch (1.5 s warm); rich is imported for a terminal
  only (`cli/tables.py`).
- `Searcher.open` checks the model's checksum and creates the ONNX Runtime session in a thread,
  which needs no interpreter lock, while it opens the index. To import FAISS in a thread beside
  both was tried, and was slower by 0.02 s.
- Large index files that were checked once are not checked again while size, inode and times stay
  (`index/format/checksum_cache.py`); vectors are mapped, not read.
- ONNX Runtime's optimised graph is cached in the bundle (`embedding/onnx_sessions.py`).
- A single query searches on one thread: waking a second costs more than the query takes
  (`index/search/open_index.py`).
- A search collects garbage rarely (`run`): imports make many objects and no garbage; 10 to 15 ms.
- The process ends without taking libraries down one by one (`run`): 0.1 s.
"""

import gc
import logging
import os
import sys
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fgembed import __version__
from fgembed.cli.process.endings import end_of, require_current_folder
from fgembed.cli.process.help_text import join_help_lines
from fgembed.cli.process.home_paths import expand_home
from fgembed.cli.process.streams import OutputLost, flush_output, prepare_streams, use_utf8_names
from fgembed.text import showable

# In the order of the job; each command's module is fgembed.cli.<name>.
COMMANDS = {
    "init": "init",
    "train": "train.app",
    "evaluate": "evaluate",
    "backbones": "backbones",
    "export": "export",
    "index": "index.app",
    "embed": "embed",
    "search": "search",
    "dataset": "dataset.app",
    "demo": "demo",
    "doctor": "doctor",
}


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is named."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"fgembed.cli.{COMMANDS[cmd_name]}").app)
        command.name = cmd_name
        expand_home(command)
        join_help_lines(command)
        return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"fgembed {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print and exit."),
    ] = False,
) -> None:
    """From a folder of look-alike photographs without labels to a search that works.

    In the order of the job: init, train, export --onnx, index build, search.
    """


def run() -> None:
    """The installed program: `main`, then an immediate exit unless torch was imported."""
    if sys.argv[1:2] == ["search"]:
        gc.set_threshold(100_000)
    prepare_streams()
    use_utf8_names()
    code: str | int | None = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    if "torch" in sys.modules or not isinstance(code, int):
        sys.exit(code)  # loader processes and TensorBoard need their clean-up
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Runs the command line; an error becomes one line and an exit code, whatever it is.

    `FGEMBED_TRACEBACK=1` in the environment shows the traceback of one that no one foresaw.
    """
    # Pillow's warnings (a large image, odd metadata) do not help the user of a command: the image
    # is read, or it is listed with the reason.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    warnings.formatwarning = lambda message, *_, **__: f"warning: {showable(str(message))}\n"
    try:
        require_current_folder(sys.argv[1:])
        line, code = "", app(prog_name="fgembed", standalone_mode=False)
        flush_output()
    except BaseException as error:
        line, code = end_of(error)
        with suppress(OutputLost):
            flush_output()
    if line:
        one_line = " ".join(part.strip() for part in line.splitlines())
        print(f"error: {showable(one_line)}", file=sys.stderr)
    sys.exit(code)
