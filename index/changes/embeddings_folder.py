"""A folder of existing embeddings as the source of a segment.

The layout is that of `fgembed embed`, clip-retrieval and autofaiss: `img_emb/*.npy`, and
`metadata/*.parquet` in the same order. A folder of .npy files alone will do, too.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.disk.npy_files import read_array
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.part_checksums import check_embeddings, plan_content
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.index.changes.embeddings_metadata import ID, ImportedMetadata
from fgembed.index.format.metadata_table import Item
from fgembed.index.format.npy_files import shape_of_vectors
from fgembed.index.segments.segment_builder import Source

ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class ImportedPart:
    """B consecutive rows of one .npy file.

    Attributes:
        embeddings: the folder's files.
        file_number: position of the file among them.
        start: first row in the file.
        first_id: id of the first row, if the rows are numbered.
        renumber: number the rows even if the metadata has ids.
        root: the folder that the items' paths become relative to.
    """

    embeddings: "ImportedEmbeddings"
    file_number: int
    start: int
    first_id: int
    renumber: bool
    root: Path

    def vectors(self) -> Vectors:
        """(B, D) float32, scaled to unit length.

        Raises:
            IntegrityError: a row is zero or not finite.
        """
        file = self.embeddings.files[self.file_number]
        imported = read_array(file)[self.start : self.start + ROWS_AT_ONCE]
        imported = np.asarray(imported, np.result_type(imported.dtype, np.float32))
        with np.errstate(all="ignore"):
            # Divide by the largest value first, so that no square overflows or underflows.
            largest = np.abs(imported).max(axis=1, keepdims=True)
            vectors = np.asarray(imported / largest, np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        invalid = ~np.isfinite(vectors).all(axis=1)
        if invalid.any():
            row = self.start + int(np.flatnonzero(invalid)[0])
            raise IntegrityError(
                f"{file}: row {row} is zero or not finite, expected a vector of any other length",
                "embed that image again, or remove the row here and in the metadata",
            )
        return vectors

    def paths(self) -> list[Path]:
        """B absolute image paths; without metadata, `file.npy#row` in the folder."""
        return self._paths(self._table())

    def items(self) -> list[Item]:
        """B items."""
        table = self._table()
        numbered = range(self.first_id, self.first_id + self.count)
        ids = numbered if self.renumber else table.get(ID) or numbered
        values = self.embeddings.metadata.values(table, self.count)
        return [
            Item(
                id=id_,
                path=path.relative_to(self.root).as_posix(),
                sha256=None,
                size=None,
                mtime_ns=None,
                values=row,
            )
            for id_, path, row in zip(ids, self._paths(table), values, strict=True)
        ]

    @property
    def count(self) -> int:
        """The number of rows B."""
        return min(ROWS_AT_ONCE, self.embeddings.counts[self.file_number] - self.start)

    def _table(self) -> dict[str, list[Any]]:
        return self.embeddings.metadata.table(self.file_number, self.start, self.count)

    def _paths(self, table: dict[str, list[Any]]) -> list[Path]:
        name = self.embeddings.files[self.file_number].name
        file = name.encode("utf-8", "backslashreplace").decode()
        folder = self.embeddings.metadata.root
        return self.embeddings.metadata.paths(table) or [
            folder / f"{file}#{self.start + row}" for row in range(self.count)
        ]


@dataclass
class ImportedEmbeddings:
    """Existing embeddings (N, D) of any length, as one or more .npy files in numerical order.

    Attributes:
        folder: holds the files.
        files: .npy files of vectors.
        counts: rows of each file.
        dimensions: D.
        metadata: Parquet files with a row for each vector; there may be none.
    """

    folder: Path
    files: list[Path]
    counts: list[int]
    dimensions: int
    metadata: ImportedMetadata

    @classmethod
    def open(cls, folder: Path) -> "ImportedEmbeddings":
        """Opens a folder of embeddings and checks the header of every file.

        What `fgembed embed` wrote is compared with its checksums; other tools write none.

        Raises:
            NotFoundError: there are no .npy files, or no vectors in them.
            IntegrityError: a file is damaged or missing, or files do not fit one another.
            MissingExtraError: there is metadata and pyarrow is not installed.
        """
        check_embeddings(folder)
        vector_folder = folder / "img_emb" if (folder / "img_emb").is_dir() else folder
        files = sorted(filter(Path.is_file, vector_folder.glob("*.npy")), key=_numerically)
        if not files:
            raise NotFoundError(
                f"no .npy files of embeddings in {vector_folder}",
                'give a folder with .npy files of shape (N, D), as "fgembed embed" writes it',
            )
        shapes = [shape_of_vectors(file) for file in files]
        widths = {width: file for (_, width), file in zip(shapes, files, strict=True)}
        if len(widths) > 1:
            named = ", ".join(f"{width} in {file.name}" for width, file in sorted(widths.items()))
            raise IntegrityError(
                f"embeddings in {vector_folder} differ in their dimensions: {named}",
                "keep the files of one model in each folder",
            )
        counts = [count for count, _ in shapes]
        tables = sorted((folder / "metadata").glob("*.parquet"), key=_numerically)
        metadata = ImportedMetadata(folder, tables)
        metadata.check(files, counts)
        if not sum(counts):
            raise NotFoundError(
                f"the .npy files in {vector_folder} hold no vectors", "embed at least one image"
            )
        imported = cls(
            folder=folder, files=files, counts=counts, dimensions=shapes[0][1], metadata=metadata
        )
        imported._check_complete()
        return imported

    @classmethod
    def of_file(cls, file: Path) -> "ImportedEmbeddings":
        """Opens a single .npy file, without metadata.

        Raises:
            NotFoundError: the file is missing, or holds no rows.
            IntegrityError: it holds no array of shape (N, D).
        """
        if not file.is_file():
            raise NotFoundError(f"no file of vectors at {file}", "give a .npy file of shape (N, D)")
        count, dimensions = shape_of_vectors(file)
        if count == 0:
            raise NotFoundError(f"{file} holds no vectors", "give a file with at least one row")
        metadata = ImportedMetadata(file.parent, [])
        return cls(
            folder=file.parent, files=[file], counts=[count], dimensions=dimensions,
            metadata=metadata,
        )  # fmt: skip

    @property
    def count(self) -> int:
        """The number of vectors N."""
        return sum(self.counts)

    @cached_property
    def plan(self) -> dict[str, Any] | None:
        """The record that `fgembed embed` left of its run; None if another tool wrote the files."""
        return plan_content(self.folder)

    def parts(
        self, first_id: int = 0, renumber: bool = False, root: Path | None = None
    ) -> list[ImportedPart]:
        """All rows in order, at most `ROWS_AT_ONCE` in each part.

        Args:
            first_id: the rows' ids count from it, unless the metadata has ids.
            renumber: count the ids from `first_id` even if the metadata has ids.
            root: the folder that the items' paths become relative to; None takes the common
                folder of all images.
        """
        root = root or self.metadata.root
        parts = []
        for file_number, count in enumerate(self.counts):
            parts += [
                ImportedPart(
                    embeddings=self,
                    file_number=file_number,
                    start=start,
                    first_id=first_id + start,
                    renumber=renumber,
                    root=root,
                )
                for start in range(0, count, ROWS_AT_ONCE)
            ]
            first_id += count
        return parts

    def source(self) -> Source:
        """All rows as the source of a segment."""
        return Source(
            parts=self.parts(),
            count=self.count,
            dimensions=self.dimensions,
            root=str(self.metadata.root),
            columns=self.metadata.columns,
        )

    def _check_complete(self) -> None:
        plan = self.plan or {}
        images, size = plan.get("pictures"), plan.get("part_size")
        if not (isinstance(images, int) and isinstance(size, int) and size > 0):
            return
        expected = -(-images // size)
        if len(self.files) < expected:
            raise IntegrityError(
                f"{self.folder} has {len(self.files)} of its {expected} parts",
                'run "fgembed embed" again, which embeds the missing ones',
            )


def _numerically(file: Path) -> tuple[str | int, ...]:
    """Sort key by which 10.npy comes after 9.npy."""
    return tuple(int(n) if n.isdecimal() else n for n in re.split(r"(\d+)", file.name))
