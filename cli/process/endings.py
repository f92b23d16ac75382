"""How a command ends: each error as one line and an exit code."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from fgembed.cli.process.streams import OutputLost, silence_output
from fgembed.errors import FgembedError

TRACEBACK = "FGEMBED_TRACEBACK"  # in the environment: unforeseen errors are raised
BROKEN_PIPE_CODE = 1  # as Typer's
INTERRUPTED_CODE = 130
LONGEST = 500  # letters of an unforeseen message; some hold a whole array


def require_current_folder(arguments: Sequence[str]) -> None:
    """Refuses to work in a folder that is gone; help needs none.

    Raises:
        FgembedError: the current folder does not exist or cannot be read.
    """
    if not arguments or {"-h", "--help", "--version"} & {*arguments}:
        return
    try:
        os.getcwd()  # noqa: PTH109 - every search begins here
    except OSError as error:
        raise FgembedError(
            f"the current folder is not usable: {error.strerror}",
            'change to another folder with "cd", then run the command again',
        ) from None


def end_of(error: BaseException) -> tuple[str, Any]:
    """The line that tells an error, and the exit code; no line where there is nothing to tell.

    Raises:
        BaseException: the error itself, if it was not foreseen and `FGEMBED_TRACEBACK` is set.
    """
    if isinstance(error, SystemExit):
        return "", error.code
    if isinstance(error, KeyboardInterrupt | typer.Abort) or _hides_interrupt(error):
        return "", INTERRUPTED_CODE
    if isinstance(error, typer.TyperException):
        # Without a message, the help has been printed.
        return _usage(error) if error.format_message().strip() else "", error.exit_code
    if isinstance(error, FgembedError):
        return str(error), error.exit_code
    if isinstance(error, OutputLost):
        return _lost(error.reason)
    if isinstance(error, MemoryError) or _is_allocation(error):
        return "not enough memory; use smaller batches or images", 1
    if isinstance(error, OSError):
        return _system_error(error)
    if os.environ.get(TRACEBACK):
        raise error
    return _unforeseen(error), 1


def _hides_interrupt(error: BaseException) -> bool:
    """Whether a library made another error of an interrupt, as compiled ones do when imported."""
    seen: BaseException | None = error
    for _ in range(20):  # chains may be circular
        if seen is None or isinstance(seen, KeyboardInterrupt):
            break
        seen = seen.__cause__ or seen.__context__
    return isinstance(seen, KeyboardInterrupt)


def _usage(error: typer.TyperException) -> str:
    """A usage error in our form: no capital, no final stop, and the help that explains it."""
    message = error.format_message().rstrip(". ").replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "fgembed"
    return f'{message[:1].lower()}{message[1:]}; see "{command} --help"'


def _lost(reason: str) -> tuple[str, int]:
    if not reason:
        return "", BROKEN_PIPE_CODE
    return f"cannot write to standard output: {reason}; free space, or send it elsewhere", 1


def _system_error(error: OSError) -> tuple[str, int]:
    """A full disk, a read-only folder, a deleted file: the system names the cause."""
    if error.filename is None and _comes_from_printing(error):
        silence_output()
        return _lost("" if error.errno == errno.EPIPE else error.strerror or str(error))
    name: Any = error.filename
    if isinstance(name, int):  # opened by its descriptor
        path = f": file descriptor {name}"
    else:
        path = "" if name is None else f": {os.fsdecode(name)}"
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "; free space on that disk, then run the command again" if is_full else ""
    return f"{error.strerror or _message(error) or type(error).__name__}{path}{remedy}", 1


def _comes_from_printing(error: BaseException) -> bool:
    """Whether a command's own module, or the library that prints for it, met the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return module.startswith(("fgembed.cli.", "rich.", "typer."))


def _is_allocation(error: BaseException) -> bool:
    """Whether torch could not allocate; its own class exists only where torch is imported."""
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in _message(error)
    )


def _message(error: BaseException) -> str:
    """What the error says; nothing if it fails in saying it."""
    try:
        return str(error)
    except Exception:
        return ""


def _unforeseen(error: BaseException) -> str:
    message = _message(error).strip().partition("\n")[0] or "no message"
    message = message if len(message) <= LONGEST else f"{message[:LONGEST]} ..."
    command = " ".join(sys.argv[1:3])
    return (
        f"{type(error).__name__}: {message}; this is a fault of fgembed: set {TRACEBACK}=1, run "
        f'"fgembed {command}" again and report what it prints'
    )
