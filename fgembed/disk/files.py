"""Files that are complete or absent: atomic writes, folder swaps, checksums."""

import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fgembed.disk.flushing import named, sync
from fgembed.disk.locks import lock_beside, sole_writer
from fgembed.disk.temporaries import beside, sweep_abandoned, temporary
from fgembed.disk.text_files import read_text
from fgembed.errors import ConfigError, FgembedError, IntegrityError


@contextmanager
def atomic_write(path: Path, before: Callable[[Path], None] | None = None) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` only when the block ends without an error.

    The bytes are on disk before the file gets its name: a crash or a full disk leaves either the
    old file or the new one.

    Args:
        path: the file; missing folders above it are made.
        before: called with `path` when the new file is about to get its name; may refuse it.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_abandoned(path)
    with temporary(path) as new:
        try:
            with new.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if before is not None:
                before(path)
            new.replace(path)
        except OSError as error:
            if error.filename in (None, str(new)):  # the system does not say which file it was
                raise named(error, path) from None
            raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replaces a text file atomically, as UTF-8 (lone surrogates as backslash escapes)."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file atomically; keys keep their order."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path, kind: str, command: str = "") -> dict[str, Any]:
    """The JSON object in `path`.

    Args:
        path: the file; it must exist.
        kind: what the file is, for the message.
        command: the command that writes such a file, for the message.

    Raises:
        IntegrityError: the file is not a JSON object.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{kind} {path} is damaged: not valid JSON ({error})", restore_or_repeat(command)
        ) from None
    if not isinstance(value, dict):
        raise IntegrityError(
            f"{kind} {path} is damaged: expected a JSON object", restore_or_repeat(command)
        )
    return value


def restore_or_repeat(command: str = "") -> str:
    """The remedy for a damaged file; `command` is the one that writes it.

    Example:
        >>> restore_or_repeat("fgembed train")
        'restore it from a copy, or make it again with "fgembed train"'
    """
    return "restore it from a copy, or make it again" + (f' with "{command}"' if command else "")


def read_toml(path: Path) -> dict[str, Any]:
    """The nested tables of a TOML file.

    Raises:
        ConfigError: the file is not TOML.
    """
    try:
        return tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        is_escape = any(words in str(error) for words in ("hex value", "Unescaped"))
        remedy = "put 'single quotes' around a path with backslashes" if is_escape else ""
        raise ConfigError(
            f"{path} is not valid TOML: {error}",
            remedy or "correct it in an editor and save it as UTF-8",
        ) from None


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that replaces it when the block succeeds.

    An error inside the block leaves `target` unchanged. The swap is two renames. A kill between
    them leaves the old folder under a temporary name; the next write to `target` restores it.
    If `target` is a link, the folder that it points to is replaced. From the start of the block
    to the swap, nobody else replaces `target`.

    Raises:
        FgembedError: `target` is the current folder; the user's shell would stay in the old one.
        InUseError: another process is writing `target`.
    """
    if target.resolve() == Path.cwd():
        raise FgembedError(
            f"{target} is the current folder, which cannot be replaced",
            "give another folder, or run the command from its parent folder",
        )
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(target, lock_beside(target)), temporary(target) as staged:
        sweep_abandoned(target)
        staged.mkdir()
        yield staged
        for path in [*staged.rglob("*"), staged]:
            sync(path)
        _swap(staged, target)


def absolute(path: Path | str) -> Path:
    """The path from the root of the file system, without `..`; links are not resolved.

    Example:
        >>> absolute("//photos/../kiwi.jpg")
        PosixPath('/kiwi.jpg')
    """
    plain = os.path.normpath(Path(path).absolute())
    return Path("/" + plain.lstrip("/") if plain.startswith("//") else plain)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """The SHA-256 of a JSON value in canonical form: equal values have equal digests.

    Example:
        >>> digest({"size": 224, "fit": "pad"}) == digest({"fit": "pad", "size": 224})
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_files(folder: Path, files: dict[str, str], kind: str, command: str = "") -> None:
    """Checks that every file exists below `folder` and has its SHA-256.

    Args:
        folder: the folder that the names are relative to.
        files: the expected SHA-256 of each file, by name.
        kind: what the folder is, for the message.
        command: the command that writes such a folder, for the message.

    Raises:
        IntegrityError: a file is missing or differs, or its name leads out of the folder.
    """
    inside = Path(os.path.realpath(folder))
    for name, expected in files.items():
        path = folder / name
        # Of a link that leads to itself, Path.resolve makes a RuntimeError.
        if "\0" in name or not Path(os.path.realpath(path)).is_relative_to(inside):
            fact = f"{kind} {folder} names a file outside itself: {name!r}"
        elif not path.is_file():
            fact = f"{kind} {folder} is incomplete: {name} is missing"
        elif sha256(path) != expected:
            fact = f"{kind} {folder} is damaged: {name} differs from its checksum"
        else:
            continue
        raise IntegrityError(fact, restore_or_repeat(command))


def _swap(staged: Path, target: Path) -> None:
    old = beside(target, "old")
    try:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)  # what an interrupted swap of this process left
            target.rename(old)
        staged.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
