"""The errors that a user can act on, as a tree with their exit codes.

    FgembedError           1  something the user can act on
    ├── NotFoundError      1  a run, bundle, index or folder that a command needs is not there
    ├── InUseError         1  another process writes the run, bundle, index or folder
    ├── MissingExtraError  1  an optional dependency is not installed
    ├── ImageError         1  an image cannot be read
    ├── ConfigError        2  a setting is unknown or out of range
    ├── BadImagesError     3  more unreadable images than allowed
    ├── DeviceError        4  a requested device or provider is not available
    └── IntegrityError     5  a file is damaged, foreign, or made with another model

A message is one line, `fact; remedy`: lower case, no final stop, commands in double quotes.
"""

from pathlib import Path


class FgembedError(Exception):
    """Anything the user can act on; shown as one line, never as a traceback.

    Args:
        fact: what is wrong with which value, and what was expected.
        remedy: what to do about it.

    Example:
        raise NotFoundError(f"no index at {folder}", 'make one with "fgembed index build"')
    """

    exit_code = 1

    # Positional only: another process unpickles an error from the arguments by position.
    def __init__(self, fact: str, remedy: str, /) -> None:
        self.fact = fact
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.fact}; {self.remedy}"


class NotFoundError(FgembedError):
    """A run, bundle, index or folder that a command needs is not there."""


class InUseError(FgembedError):
    """Another process, or another thread of this one, writes the run, bundle, index or folder."""


class MissingExtraError(FgembedError):
    """An optional dependency is not installed."""

    def __init__(self, purpose: str, module: str, extra: str, /) -> None:
        super().__init__(
            f"{purpose} needs {module}", f"install it with \"pip install 'fgembed[{extra}]'\""
        )


class ImageError(FgembedError):
    """An image cannot be read."""

    def __init__(self, path: Path | str, reason: str, /, *, is_missing: bool = False) -> None:
        super().__init__(
            f"cannot read image {str(path)!r}: {reason}",
            "correct its path"
            if is_missing
            else "give another image, or save it again as JPEG or PNG",
        )
        self.path = path
        self.reason = reason


class ConfigError(FgembedError):
    """A setting is unknown or out of range."""

    exit_code = 2


class BadImagesError(FgembedError):
    """More unreadable images than allowed."""

    exit_code = 3


class DeviceError(FgembedError):
    """A requested device or provider is not available."""

    exit_code = 4


class IntegrityError(FgembedError):
    """A file is damaged, foreign, or made with another model."""

    exit_code = 5
