"""Edits a JSON file as fgembed itself would write it: with the checksum of its new content."""

import json
from pathlib import Path
from typing import Any

from fgembed.disk.files import write_json
from fgembed.disk.sealed_files import KEY, write_sealed_json


def write_with_checksum(file: Path, content: dict[str, Any]) -> None:
    """Replaces a file; one without a format is written as an earlier fgembed did, without."""
    plain = {key: value for key, value in content.items() if key != KEY}
    (write_sealed_json if "format" in plain else write_json)(file, plain)


def edit(file: Path, **changes: Any) -> None:
    """Changes top-level keys."""
    write_with_checksum(file, json.loads(file.read_text()) | changes)
