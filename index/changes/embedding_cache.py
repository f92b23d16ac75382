"""The embedding of an index build that survives a kill, until the index is published.

The name of a block is a digest of what its vectors depend on: the model's file, and the name, size
and time of each image. So a later call reuses a block of the same images and the same model, and
embeds again what has changed.
"""

import errno
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.disk.files import digest, sha256, write_text
from fgembed.disk.npy_files import read_array
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.resumable import Part, ResumableEmbedding
from fgembed.errors import IntegrityError
from fgembed.images.skipped import Skipped
from fgembed.index.format.manifest import PENDING_FOLDER
from fgembed.progress import ReportCount

BLOCK = 512  # images
State = list[str | int]  # a file's name, size and time


@dataclass(frozen=True)
class EmbeddedFile:
    """An image's file as it was embedded; `position` is that in the listing."""

    position: int
    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Block:
    """Embedded images of a part of the listing.

    Attributes:
        files: of the images that could be read, a row of the vectors each.
        vectors_file: (B, D) float32.
        skipped: images that could not be read.
    """

    files: list[EmbeddedFile]
    vectors_file: Path
    skipped: list[Skipped]

    def vectors(self) -> Vectors:
        """(B, D) float32, mapped."""
        return read_array(self.vectors_file)


class EmbeddingCache:
    """The blocks of an index that is being built."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder = folder / PENDING_FOLDER
        self.bundle = bundle
        self.model = bundle.config.files[MODEL_FILES[bundle.precision]]

    def embed(self, paths: Sequence[Path], device: str, report: ReportCount) -> list[Block]:
        """Blocks of all images; those that an earlier call has embedded are reused.

        `report` takes how many images are done, of how many.

        Raises:
            DeviceError: the model does not run on the requested device.
            IntegrityError: the model is damaged.
        """
        total = len(paths)
        states = [_state(path) for path in paths]
        parts = [self._part(states, start) for start in range(0, total, BLOCK)]
        records = _FileRecords(paths, states)
        embedding = ResumableEmbedding(self.bundle, paths, records, device)
        missing = embedding.missing(parts)
        cached = total - sum(len(part.positions) for part in missing)
        if cached:
            report(cached, total)
        embedding.embed(missing, lambda done, _: report(cached + done, total))
        return [Block(records.read(part), part.vectors, part.read_skipped()) for part in parts]

    def _part(self, states: Sequence[State], start: int) -> Part:
        positions = range(start, min(start + BLOCK, len(states)))
        block = [states[position] for position in positions]
        name = digest([self.model, self.bundle.config.fingerprint, block])
        return Part(
            positions=positions,
            vectors=self.folder / f"{name}.npy",
            record=self.folder / f"{name}.json",
            skipped=self.folder / f"{name}.skipped.jsonl",
        )


class _FileRecords:
    """Records of images' files as JSON, with checksums of the vectors and of themselves.

    Positions are counted from the first one of the part, because the listing may grow before it.
    """

    def __init__(self, paths: Sequence[Path], states: Sequence[State]) -> None:
        self.paths = paths
        self.states = states

    def row(self, position: int) -> EmbeddedFile:
        path = self.paths[position]
        status = path.stat()
        row = EmbeddedFile(position, sha256(path), status.st_size, status.st_mtime_ns)
        if _state(path) != self.states[position]:  # so its vector may be of other content
            raise OSError(errno.EAGAIN, "the file changed while it was embedded", str(path))
        return row

    def write(self, part: Part, rows: Sequence[EmbeddedFile]) -> None:
        first = part.positions.start
        files = [[row.position - first, row.sha256, row.size, row.mtime_ns] for row in rows]
        checksum = sha256(part.vectors)
        content = {"files": files, "sha256": checksum, "digest": digest([files, checksum])}
        write_text(part.record, json.dumps(content))

    def count(self, part: Part) -> int:
        content = json.loads(part.record.read_text(encoding="utf-8"))
        try:
            files, checksum = _image_files(content, part.positions.start), content["sha256"]
            if content["digest"] != digest([content["files"], checksum]):
                raise ValueError("the record is damaged")
            skipped = part.read_skipped()
        except (TypeError, KeyError, IntegrityError) as error:
            raise ValueError(str(error)) from None
        if checksum != sha256(part.vectors) or len(files) + len(skipped) != len(part.positions):
            raise ValueError("record and files differ")
        return len(files)

    def read(self, part: Part) -> list[EmbeddedFile]:
        """The rows of a complete part."""
        return _image_files(json.loads(part.record.read_text("utf-8")), part.positions.start)


def _image_files(content: dict[str, list[list[str | int]]], first: int) -> list[EmbeddedFile]:
    return [
        EmbeddedFile(first + int(offset), str(checksum), int(size), int(mtime_ns))
        for offset, checksum, size, mtime_ns in content["files"]
    ]


def _state(path: Path) -> State:
    """What tells whether an image has changed: its name, size and time."""
    try:
        status = path.stat()
    except OSError:
        return [os.fsdecode(path)]
    return [os.fsdecode(path), status.st_size, status.st_mtime_ns]
