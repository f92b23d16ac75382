"""The embedding of an index build that survives a kill, until the index is published.

The name of a block is a digest of what its vectors depend on: the model's file, and the name, size
and times of each image. So a later call reuses a block of the same images and the same model, and
embeds again what has changed.
"""

import errno
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.disk.file_state import FileState, state_or_none
from fgembed.disk.files import digest, sha256, write_text
from fgembed.disk.npy_files import read_array
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.resumable import Part, ResumableEmbedding
from fgembed.images.skipped import Skipped
from fgembed.index.format.manifest import PENDING_FOLDER
from fgembed.progress import ReportCount

BLOCK = 512  # images


@dataclass(frozen=True)
class EmbeddedFile:
    """An image's file as it was embedded; `position` is that in the listing."""

    position: int
    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int


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
        states = [state_or_none(path) for path in paths]
        parts = [self._part(paths, states, start) for start in range(0, total, BLOCK)]
        records = _FileRecords(paths)
        embedding = ResumableEmbedding(self.bundle, paths, records, device)
        missing = embedding.missing(parts)
        cached = total - sum(len(part.positions) for part in missing)
        if cached:
            report(cached, total)
        embedding.embed(missing, lambda done, _: report(cached + done, total))
        return [Block(records.read(part), part.vectors, part.read_skipped()) for part in parts]

    def _part(
        self, paths: Sequence[Path], file_states: Sequence[FileState | None], start: int
    ) -> Part:
        positions = range(start, min(start + BLOCK, len(paths)))
        states = [_described(paths[position], file_states[position]) for position in positions]
        name = digest([self.model, self.bundle.config.fingerprint, states])
        return Part(
            positions=positions,
            vectors=self.folder / f"{name}.npy",
            record=self.folder / f"{name}.json",
            skipped=self.folder / f"{name}.skipped.jsonl",
        )


class _FileRecords:
    """Records of images' files as JSON, with checksums of the block's files and of themselves.

    Positions are counted from the first one of the part, because the listing may grow before it.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.before: dict[int, FileState | None] = {}

    def begin(self, part: Part) -> None:
        self.before = {row: state_or_none(self.paths[row]) for row in part.positions}

    def row(self, position: int) -> EmbeddedFile:
        path = self.paths[position]
        checksum, state = sha256(path), FileState.of(path)
        if not state.may_equal(self.before[position]):  # the vector may be of other content
            raise OSError(errno.EAGAIN, "the file changed while it was embedded", str(path))
        return EmbeddedFile(position, checksum, state.size, state.mtime_ns, state.ctime_ns)

    def write(self, part: Part, rows: Sequence[EmbeddedFile]) -> None:
        first = part.positions.start
        files = [
            [row.position - first, row.sha256, row.size, row.mtime_ns, row.ctime_ns] for row in rows
        ]
        write_text(part.record, json.dumps({"files": files, "digest": _digest(part, files)}))

    def count(self, part: Part) -> int:
        content = json.loads(part.record.read_text(encoding="utf-8"))
        try:
            files = _image_files(content, part.positions.start)
            if content["digest"] != _digest(part, content["files"]):
                raise ValueError("the block is damaged")
        except (TypeError, KeyError, RecursionError) as error:
            raise ValueError(str(error)) from None
        if len(files) + len(part.read_skipped()) != len(part.positions):
            raise ValueError("record and files differ")
        return len(files)

    def read(self, part: Part) -> list[EmbeddedFile]:
        """The rows of a complete part."""
        return _image_files(json.loads(part.record.read_text("utf-8")), part.positions.start)


def _digest(part: Part, files: Sequence[Sequence[object]]) -> str:
    """A digest of all that a block holds, and of its name: no other block's files pass for it."""
    skipped = sha256(part.skipped) if part.skipped.exists() else None
    return digest([part.record.name, files, sha256(part.vectors), skipped])


def _image_files(content: dict[str, list[list[str | int]]], first: int) -> list[EmbeddedFile]:
    return [
        EmbeddedFile(first + int(offset), str(checksum), int(size), int(mtime_ns), int(ctime_ns))
        for offset, checksum, size, mtime_ns, ctime_ns in content["files"]
    ]


def _described(path: Path, state: FileState | None) -> list[str | int]:
    """What tells whether an image has changed: its name, size and times."""
    name = os.fsdecode(path)
    return [name] if state is None else [name, state.size, state.mtime_ns, state.ctime_ns]
