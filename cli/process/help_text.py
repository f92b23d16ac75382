"""Help texts: the lines of a docstring are joined, so that the terminal's width breaks them."""

from typing import Any


def join_help_lines(command: Any) -> None:
    """Joins the lines of each paragraph in the help of a command and of those below it."""
    if command.help:
        paragraphs = command.help.split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    for below in getattr(command, "commands", {}).values():
        join_help_lines(below)
