"""Runs with a checkpoint and their own copy of the images, for the tests of resuming."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from fgembed.config import RunConfig, validate
from fgembed.disk.files import read_toml
from fgembed.methods.lcr import LCR
from fgembed.progress import silent
from fgembed.resolve import merge
from fgembed.training.run import ReadyRun, prepare
from fgembed.workspace import RunFolder


class Killed(BaseException):
    """Stands in for a kill: nothing in the product catches it."""


@dataclass(frozen=True)
class SavedRun:
    """A run with a checkpoint after its first epoch, and its own copy of the images."""

    folder: RunFolder
    images: Path

    def config(self, changes: Mapping[str, Any]) -> RunConfig:
        """Its settings with changes, as from an edited `config.toml`."""
        return validate(RunConfig, merge(read_toml(self.folder.config), changes), "config.toml")

    def prepare(self, changes: Mapping[str, Any]) -> ReadyRun:
        """What `--resume` does before it trains."""
        return prepare(self.config(changes), LCR, self.folder, silent)

    def figures(self) -> list[tuple[int, float]]:
        """Step and loss of every line of its log."""
        lines = [json.loads(line) for line in self.folder.metrics.read_text().splitlines()]
        return [(line["step"], line["contrast"]) for line in lines]


def copied(run: SavedRun, target: Path) -> SavedRun:
    """Run and images below `target`; the images keep their paths below their folder."""
    copy = SavedRun(RunFolder(target / "runs" / "copy"), target / "images")
    shutil.copytree(run.images, copy.images)
    shutil.copytree(run.folder.path, copy.folder.path)
    config = read_toml(run.folder.config) | {"images": str(copy.images)}
    copy.folder.config.write_text(tomli_w.dumps(config))
    return copy


def flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
