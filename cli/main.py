"""Entry point: the table of commands, each imported only when it is used."""

import logging
import os
import sys
import warnings
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fgembed import __version__
from fgembed.errors import FgembedError
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
    "demo": "demo",
    "doctor": "doctor",
}


class LazyGroup(TyperGroup):
    """Loads a command's module when it is named; `search` must not pay for `train`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"fgembed.cli.{COMMANDS[cmd_name]}").app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
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
    """The installed program: `main`, then out at once where torch was not needed.

    Taking numpy, faiss and ONNX Runtime down one by one costs a search a tenth of a second.
    """
    code: str | int | None = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    if "torch" in sys.modules or not isinstance(code, int):
        sys.exit(code)  # loaders and TensorBoard clean up after themselves
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1  # the reader of a pipe has gone
    os._exit(code)


def main() -> None:
    """Runs the command line; what a user can act on becomes one line and an exit code."""
    # What Pillow warns of (a large picture, odd metadata) is no news to the user of a command:
    # the picture is read, or it is listed with the reason.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        sys.exit(app(prog_name="fgembed", standalone_mode=False))
    except typer.TyperException as error:
        if not error.format_message().strip():  # the help was wanted and has been printed
            sys.exit(error.exit_code)
        _fail(_usage(error), error.exit_code)
    except FgembedError as error:
        _fail(str(error), error.exit_code)
    except MemoryError:
        _fail("not enough memory; try smaller batches or pictures", 1)
    except OSError as error:
        # A full disk, a read-only folder, a vanished file: the system's own words say it.
        place = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or error}{place}", 1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)


def _usage(error: typer.TyperException) -> str:
    """A wrong command line in our form: no capital, no final stop, where to read on."""
    message = error.format_message().rstrip(". ").replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "fgembed"
    return f'{message[:1].lower()}{message[1:]}; see "{command} --help"'


def _fail(message: str, code: int) -> None:
    """One line, whatever the message holds."""
    line = showable(" ".join(message.split()))
    print(f"error: {line}", file=sys.stderr)
    sys.exit(code)
