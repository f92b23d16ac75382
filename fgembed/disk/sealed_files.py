"""Text files that carry their own SHA-256: a change of any byte is noticed when they are read.

The checksum stands at the end, in JSON as the last key, in TOML as a comment. It is the SHA-256 of
the file with zeros in the checksum's own place. Files of earlier formats have none, and their
reader says which those are. Where editing a file by hand makes sense, the word `edited` in place of
the checksum accepts it as it is; a damaged file never says so by itself.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fgembed.disk.files import read_toml, restore_or_repeat, write_text
from fgembed.errors import IntegrityError, NotFoundError

KEY = "file_sha256"
EDITED = "edited"
PLACEHOLDER = "0" * 64
JSON_END = re.compile(rb'\n  "file_sha256": "([0-9a-f]{64})"\n}\n\Z')
TOML_END = re.compile(rb'\n# file_sha256 = "([^"\n]*)"\n?\Z')
TOML_START = "# Written by fgembed; the last line is a checksum of this file.\n"


def write_sealed_json(path: Path, content: dict[str, Any]) -> None:
    """Replaces a JSON file atomically; its last key is the checksum of the file.

    Args:
        path: the file.
        content: by key, `format` among them, so that a lost checksum is noticed.
    """
    assert "format" in content and KEY not in content  # invariant
    _write(path, json.dumps(content | {KEY: PLACEHOLDER}, indent=2) + "\n")


def read_sealed_json(
    path: Path, kind: str, sealed: Collection[int], command: str = "", *, editable: bool = False
) -> dict[str, Any]:
    """The JSON object that `write_sealed_json` wrote, without its checksum.

    Args:
        path: the file; it must exist.
        kind: what the file is, for the message.
        sealed: a file that says that its `format` is one of these must have a checksum. Another
            one may lack it; the caller decides which formats it reads.
        command: the command that writes such a file, for the message.
        editable: accept `edited` in place of the checksum.

    Raises:
        IntegrityError: the file differs from its checksum, has lost it, or is no JSON object.
    """
    data = path.read_bytes()
    content = _json_object(data, path, kind, command)
    checksum = content.pop(KEY, None)
    if editable and checksum == EDITED:
        return content
    if checksum is None and content.get("format") not in sealed:
        return content
    if checksum is None or not _matches(JSON_END, data):
        remedy = _accept("the value of file_sha256") if editable else ""
        raise _differs(path, kind, command, remedy)
    return content


def write_sealed_toml(path: Path, text: str) -> None:
    """Replaces a TOML file atomically, between a first and a last line of its checksum."""
    _write(path, f'{TOML_START}\n{text}\n# {KEY} = "{PLACEHOLDER}"\n')


def read_sealed_toml(path: Path, kind: str) -> dict[str, Any]:
    """The tables that `write_sealed_toml` wrote, or those of an earlier file without a checksum.

    A user may have edited them, and says so by `edited` in place of the checksum.

    Raises:
        NotFoundError: there is no such file.
        IntegrityError: the file differs from its checksum, has lost it, or is empty.
        ConfigError: an edited file is not TOML.
    """
    if not path.is_file():
        raise NotFoundError(f"{kind} {path} is missing", restore_or_repeat())
    data = path.read_bytes()
    end = TOML_END.search(data)
    if end is not None and end[1] == EDITED.encode():
        return read_toml(path)
    is_earlier = end is None and not _begins_sealed(data)
    if is_earlier:
        return read_toml(path)
    if end is None or not _matches(TOML_END, data):
        raise _differs(path, kind, "", _accept("the checksum in its last line"))
    return tomllib.loads(data.decode())


def is_edited_toml(path: Path) -> bool:
    """Whether a user has accepted the file as edited."""
    end = TOML_END.search(path.read_bytes())
    return end is not None and end[1] == EDITED.encode()


def _json_object(data: bytes, path: Path, kind: str, command: str) -> dict[str, Any]:
    try:
        content = json.loads(data.decode("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("expected a JSON object")
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{kind} {path} is damaged: not valid JSON ({error})", restore_or_repeat(command)
        ) from None
    return content


def _begins_sealed(data: bytes) -> bool:
    """Whether it begins as a file with a checksum does, as far as it goes; an empty one, too."""
    start = TOML_START.encode().rstrip(b"\n")
    line = data.split(b"\n", 1)[0]
    return not data.strip() or line == start or (line != b"" and start.startswith(line))


def _write(path: Path, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    head, _, tail = text.rpartition(PLACEHOLDER)
    write_text(path, head + hashlib.sha256(data).hexdigest() + tail)


def _matches(end: re.Pattern[bytes], data: bytes) -> bool:
    """Whether the checksum at the end is that of the file."""
    match = end.search(data)
    if match is None:
        return False
    blank = data[: match.start(1)] + PLACEHOLDER.encode() + data[match.end(1) :]
    return hashlib.sha256(blank).hexdigest().encode() == match[1]


def _accept(part: str) -> str:
    return f', or, if you edited it yourself, put the word "{EDITED}" in place of {part}'


def _differs(path: Path, kind: str, command: str, accept: str) -> IntegrityError:
    return IntegrityError(
        f"{kind} {path} is damaged or was edited: it differs from its checksum",
        restore_or_repeat(command) + accept,
    )
