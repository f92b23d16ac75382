"""Files that are whole or absent: atomic writes, folder swaps, checksums."""

import errno
import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from fgembed.disk.temporaries import beside, in_use, sweep_abandoned
from fgembed.errors import ConfigError, FgembedError, IntegrityError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` only when the block ends without an error.

    The bytes are on disk before the name changes, so a crash or a full disk leaves the
    old file or the new one.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_abandoned(path)
    temporary = beside(path, "tmp")
    with in_use(temporary):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno in FULL:  # the system does not say which file it was
                raise OSError(error.errno, error.strerror, str(path)) from None
            raise
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replaces a text file atomically, as UTF-8 (lone surrogates as backslash escapes)."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file atomically; keys keep their order."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        IntegrityError: the file is not a JSON object; `what` names it in the message.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{what} {path} is damaged: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise IntegrityError(f"{what} {path} is damaged: expected a JSON object")
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as nested tables.

    Raises:
        ConfigError: the file is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place when the block succeeds.

    An error inside the block leaves `target` as it was. The swap is two renames: a kill
    exactly between them leaves the old folder under another name, which the next write to
    `target` puts back. A link is followed: what it leads to is replaced.

    Raises:
        FgembedError: `target` is the current folder, which would stay the old one.
    """
    if target.resolve() == Path.cwd():
        raise FgembedError(
            f"{target} is the current folder, which cannot be replaced", "name another"
        )
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep_abandoned(target)
    staged = beside(target, "tmp")
    with in_use(staged):
        staged.mkdir()
        try:
            yield staged
            for path in [*staged.rglob("*"), staged]:
                sync(path)
            _swap(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def sync(path: Path) -> None:
    """Flushes a file, or a folder's entries, to disk, so that it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def absolute(path: Path | str) -> Path:
    """From the root of the file system, without `..`; links stay as they are."""
    plain = os.path.normpath(Path(path).absolute())
    return Path("/" + plain.lstrip("/") if plain.startswith("//") else plain)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form: the same content, the same digest."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_files(folder: Path, files: dict[str, str], what: str) -> None:
    """Checks that every file exists below `folder` and has the SHA-256 that is on record.

    Raises:
        IntegrityError: a file is missing, differs, or its name leads out of the folder.
    """
    for name, expected in files.items():
        path = folder / name
        if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
            raise IntegrityError(f"{what} {folder} names a file outside itself: {name!r}")
        if not path.is_file():
            raise IntegrityError(f"{what} {folder} is incomplete: {name} is missing")
        if sha256(path) != expected:
            raise IntegrityError(f"{what} {folder} is damaged: {name} differs from its checksum")


def refuse_foreign(
    target: Path, own_names: tuple[str, ...], what: str, mark: tuple[str, str] | None = None
) -> None:
    """Refuses to write over a folder that holds anything but our own files.

    Args:
        target: the folder; it need not exist.
        own_names: patterns of the entries it may hold.
        what: what it would become, for the message.
        mark: the JSON file that says whose folder it is, and the `model_type` of ours. A file
            that is no JSON is taken for ours, so that a damaged folder can be made anew.

    Raises:
        FgembedError: `target` is a file, or holds what is not ours.
    """
    if target.is_dir():
        foreign = [p.name for p in target.iterdir() if not any(p.match(n) for n in own_names)]
        if not foreign and mark is not None and _is_foreign(target / mark[0], mark[1]):
            foreign = [mark[0]]
        if foreign:
            raise FgembedError(
                f"{target} holds {sorted(foreign)[0]!r}, which is no part of {what}",
                "choose another folder",
            )
    elif target.exists():
        raise FgembedError(f"{target} is a file", f"{what} is a folder, choose another path")


def _is_foreign(description: Path, model_type: str) -> bool:
    try:
        return read_json(description, "").get("model_type") != model_type
    except (IntegrityError, FileNotFoundError):
        return False


def _swap(staged: Path, target: Path) -> None:
    old = beside(target, "old")
    if target.exists():
        target.rename(old)
    try:
        staged.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
