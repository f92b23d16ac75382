"""Embedding that outlives a kill: each block of pictures is kept until the index is published.

A block's file is named after all that its vectors come from: the model's file, and name, size and
time of every picture. What has changed since is embedded again; what has not is found.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.disk.files import atomic_write, digest, sha256, write_text
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.images.finding import Skipped
from fgembed.index.format.manifest import PENDING_FOLDER
from fgembed.index.format.npy_files import read_array

BLOCK = 512  # pictures


@dataclass(frozen=True)
class Facts:
    """What is known of a picture's file."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Block:
    """Embedded pictures: their places in the listing, and one file of vectors.

    Attributes:
        places: of the pictures that could be read.
        facts: of each of them.
        file: their vectors, (B, D) float32.
        skipped: what could not be read.
    """

    places: list[int]
    facts: list[Facts]
    file: Path
    skipped: list[Skipped]

    def vectors(self) -> Vectors:
        """(B, D) float32, mapped."""
        return read_array(self.file)


class Pending:
    """The blocks of an index that is being built."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder = folder / PENDING_FOLDER
        self.bundle = bundle
        self.model = bundle.config.files[MODEL_FILES[bundle.precision]]

    def embed(
        self,
        pictures: Sequence[Path],
        device: str,
        report: Callable[[int, int], None],
    ) -> list[Block]:
        """All pictures, those of earlier calls as they were found then.

        `report` takes how many are embedded, of how many.

        Raises:
            DeviceError: the model does not run on what was asked for.
            IntegrityError: the model is damaged.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        blocks = []
        embedder: OnnxEmbedder | None = None
        for start in range(0, len(pictures), BLOCK):
            some = pictures[start : start + BLOCK]
            name = digest([self.model, self.bundle.config.fingerprint, [_state(p) for p in some]])
            block = self._read(name, start)
            if block is None:
                embedder = embedder or OnnxEmbedder.of(self.bundle, device, bulk=True)
                self._write(name, some, embedder, partial(_further, report, start, len(pictures)))
                block = self._read(name, start)
                assert block is not None
            blocks.append(block)
            report(start + len(some), len(pictures))
        return blocks

    def _read(self, name: str, start: int) -> Block | None:
        """The block, if it is there and whole."""
        vectors, described = self.folder / f"{name}.npy", self.folder / f"{name}.json"
        try:
            content = json.loads(described.read_text(encoding="utf-8"))
            shape = read_array(vectors).shape
            facts = [Facts(*each) for each in content["facts"]]
            skipped = [Skipped(Path(path), reason) for path, reason in content["skipped"]]
            places = [start + int(place) for place in content["places"]]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if not len(places) == len(facts) == shape[0] or content["sha256"] != sha256(vectors):
            return None
        return Block(places, facts, vectors, skipped)

    def _write(
        self,
        name: str,
        pictures: Sequence[Path],
        embedder: OnnxEmbedder,
        report: Callable[[int, int], None],
    ) -> None:
        rows = embedder.embed(pictures, report)
        facts: list[Facts] = []
        kept: list[int] = []
        skipped = list(rows.skipped)
        for row, place in enumerate(rows.places):
            path = pictures[place]
            try:
                status = path.stat()
                facts.append(Facts(sha256(path), status.st_size, status.st_mtime_ns))
            except OSError as error:
                skipped.append(Skipped(path, error.strerror or "cannot be read"))
            else:
                kept.append(row)
        vectors = rows.vectors.reshape(-1, self.bundle.config.dimensions)[kept]
        with atomic_write(self.folder / f"{name}.npy") as file:
            np.save(file, vectors)
        content = {
            "places": [rows.places[row] for row in kept],
            "facts": [[one.sha256, one.size, one.mtime_ns] for one in facts],
            "skipped": [[os.fsdecode(bad.path), bad.reason] for bad in skipped],
            "sha256": sha256(self.folder / f"{name}.npy"),
        }
        write_text(self.folder / f"{name}.json", json.dumps(content))


def _state(picture: Path) -> list[str | int]:
    """What tells whether a picture has changed: name, size and time."""
    try:
        status = picture.stat()
    except OSError:
        return [os.fsdecode(picture)]
    return [os.fsdecode(picture), status.st_size, status.st_mtime_ns]


def _further(
    report: Callable[[int, int], None], before: int, total: int, done: int, _: int
) -> None:
    report(before + done, total)
