"""Paths on the command line that begin with `~`, where the shell has left it (`--out=~/x`)."""

from typing import Any

from typer.models import TyperPath

from fgembed.disk.text_files import at_home


class HomePath(TyperPath):
    """A path option whose leading `~` is the home folder."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path, as `TyperPath` gives it."""
        expanded = at_home(value) if isinstance(value, str) else value
        return super().convert(expanded, param, ctx)


def expand_home(command: Any) -> None:
    """Gives every path option and argument of a command, and of those below it, `HomePath`."""
    for parameter in command.params:
        if type(parameter.type) is TyperPath:
            parameter.type = HomePath()
    for below in getattr(command, "commands", {}).values():
        expand_home(below)
