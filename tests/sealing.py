"""Edits a JSON file as fgembed itself would write it: with the checksum of its new content."""

import json
import shutil
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


def without_checksums(folder: Path) -> None:
    """Makes a folder of embeddings one that an earlier fgembed wrote."""
    shutil.rmtree(folder / "checksums")
    content = json.loads((folder / "embed.json").read_text())
    del content[KEY]
    (folder / "embed.json").write_text(json.dumps(content | {"format": 2}, indent=2) + "\n")
