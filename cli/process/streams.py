"""The standard streams as commands find them: missing, closed early, full, or in an old encoding.

Imports nothing heavy: every command begins here.
"""

import io
import os
import sys
from collections.abc import Iterator
from typing import Any


class OutputLost(Exception):
    """Standard output takes no more; `reason` is empty where its reader has just closed it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def prepare_streams() -> None:
    """Opens the null device for missing streams; what cannot be encoded is printed as escapes.

    A file that is opened while descriptor 1 is free would get it, and what is printed.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free one
        stream: Any = getattr(sys, name)
        if stream is None:
            opened = open(descriptor, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, opened)
        if mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def use_utf8_names() -> None:
    """Starts Python anew where an old locale makes it read the names of files as another encoding.

    Names would be spelt otherwise in the index, or be taken for damaged. What is printed stays in
    the encoding of the locale.
    """
    if sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    environment = {"PYTHONIOENCODING": f"{encoding}:backslashreplace"} | os.environ
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


def flush_output() -> None:
    """Writes what is printed so far; commands report only what has arrived.

    Raises:
        OutputLost: it cannot be written; from then on nothing is.
    """
    try:
        sys.stdout.flush()
    except ValueError:  # a closed file object; nothing was printed to it
        return
    except OSError as error:
        silence_output()
        reason = "" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
        raise OutputLost(reason) from None


def silence_output() -> None:
    """Sends the rest of the output nowhere, so that no later flush fails."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):  # not a real file
        pass
    finally:
        os.close(null)


def input_lines() -> Iterator[str]:
    """The lines of standard input, read when the first one is taken.

    Bytes that are not text become lone surrogates, as in a file's name.
    """
    from fgembed.disk.text_files import decoded, lines_of

    binary = getattr(sys.stdin, "buffer", None)
    if binary is None:
        yield from sys.stdin
        return
    yield from lines_of(decoded(binary.read(), "surrogateescape"))
