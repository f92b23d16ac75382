"""An embedding that survives a kill: images become parts on disk, and complete parts are kept.

`fgembed embed` writes its folder this way, and `fgembed index build` its cache. They pass in what
differs: the names of the parts and the format of the records.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from fgembed.bundle import Bundle
from fgembed.disk.files import atomic_write
from fgembed.disk.npy_files import read_array
from fgembed.embedding.bulk import BulkResult
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.errors import IntegrityError
from fgembed.images.image_file import ImageFile
from fgembed.images.skipped import Skipped, write_skipped
from fgembed.progress import ReportCount, silent

Row = TypeVar("Row")


@dataclass(frozen=True)
class Part:
    """The files of one part, and its images.

    Attributes:
        positions: of its images in the listing.
        vectors: float32 (N, D), a row for each image that could be read.
        record: the image of each row, written after the vectors. A part is complete when its
            format of records says so.
        skipped: JSON lines of the images that could not be read; missing if all could be.
    """

    positions: range
    vectors: Path
    record: Path
    skipped: Path

    def read_skipped(self) -> list[Skipped]:
        """The images that could not be read when the part was written.

        Raises:
            IntegrityError: the file is damaged.
        """
        try:
            lines = self.skipped.read_text(encoding="utf-8").splitlines()
            entries = [json.loads(line) for line in lines]
            return [Skipped.from_json(entry) for entry in entries]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{self.skipped} is damaged: {error}", f"remove it and {self.record}"
            ) from None


class Records(Protocol[Row]):
    """The format of the records: one row for each vector of a part."""

    def begin(self, part: Part) -> None:
        """Takes note of the files of a part, before they are read."""
        ...

    def row(self, position: int) -> Row:
        """What the record says of the image at a position of the listing.

        Raises:
            OSError: the image is no longer readable; it is skipped.
        """
        ...

    def write(self, part: Part, rows: Sequence[Row]) -> None:
        """Writes a part's record atomically, and what makes the part complete.

        The vectors and the list of skipped images are on disk by then.
        """
        ...

    def count(self, part: Part) -> int:
        """The number of rows of a part's record.

        Raises:
            OSError: there is no record.
            ValueError: it is damaged, or does not belong to the files beside it.
        """
        ...


class ResumableEmbedding(Generic[Row]):
    """Embeds a listing of images part by part.

    Every file of a part is written atomically, the record last. So a process that is killed loses
    no more than the part that it was writing, and the next one embeds that part again.

    Attributes:
        bundle: the exported model.
        images: the listing; a part holds positions in it.
        records: the format of the records.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.

    Example:
        embedding = ResumableEmbedding(bundle, images, records)
        embedding.embed(embedding.missing(parts))
    """

    def __init__(
        self,
        bundle: Bundle,
        images: Sequence[ImageFile],
        records: Records[Row],
        device: str = "auto",
    ) -> None:
        self.bundle = bundle
        self.images = images
        self.records = records
        self.device = device

    def missing(self, parts: Sequence[Part]) -> list[Part]:
        """The parts that are not complete on disk."""
        return [part for part in parts if not self._is_complete(part)]

    def embed(self, parts: Sequence[Part], report: ReportCount = silent) -> None:
        """Embeds and writes these parts; without any, the model is not even opened.

        `report` takes how many images of these parts are done, of how many.

        Raises:
            DeviceError: the model does not run on the requested device.
            IntegrityError: the model is damaged.
        """
        if not parts:
            return
        embedder = OnnxEmbedder.of(self.bundle, self.device, bulk=True)
        done, total = 0, sum(len(part.positions) for part in parts)
        for part in parts:
            images = self.images[part.positions.start : part.positions.stop]
            self.records.begin(part)
            self._write(part, embedder.embed(images, partial(_report_after, report, done, total)))
            done += len(part.positions)
            report(done, total)

    def _is_complete(self, part: Part) -> bool:
        """Whether the record and the vectors are readable and agree on the number of rows."""
        try:
            count = self.records.count(part)
            vectors = read_array(part.vectors)
        except (OSError, ValueError):
            return False
        expected = (count, self.bundle.config.dimensions)
        return vectors.shape == expected and vectors.dtype == np.float32

    def _write(self, part: Part, result: BulkResult) -> None:
        rows, selected, skipped = list[Row](), list[int](), list(result.skipped)
        for row, offset in enumerate(result.positions):
            position = part.positions[offset]
            try:
                rows.append(self.records.row(position))
            except OSError as error:
                path = Path(str(self.images[position]))
                skipped.append(Skipped(path, error.strerror or "cannot be read"))
            else:
                selected.append(row)
        for leftover in (part.record, part.skipped):  # of another reading of the same images
            leftover.unlink(missing_ok=True)
        if skipped:
            write_skipped(part.skipped, skipped)
        vectors = result.vectors.reshape(-1, self.bundle.config.dimensions)[selected]
        with atomic_write(part.vectors) as file:
            np.save(file, vectors)
        self.records.write(part, rows)


def _report_after(report: ReportCount, before: int, total: int, done: int, _: int) -> None:
    report(before + done, total)
