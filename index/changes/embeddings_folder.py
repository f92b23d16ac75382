"""A folder of embeddings that are there already, as parts of a segment.

`fgembed embed`, clip-retrieval and autofaiss lay them out so: `img_emb/*.npy` with, of the same
order, `metadata/*.parquet`; a folder that holds .npy files alone is taken too.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.disk.files import read_json
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.shard_plan import MODEL_TYPE, PLAN_FILE
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.index.changes.embeddings_metadata import ID, ImportedMetadata
from fgembed.index.format.metadata_table import Item
from fgembed.index.format.npy_files import read_array, shape_of_vectors
from fgembed.index.segments.segment_builder import Source

ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Slice:
    """Some rows of one .npy file."""

    given: "ImportedEmbeddings"
    number: int
    start: int
    first_id: int
    anew: bool
    root: Path

    def vectors(self) -> Vectors:
        """(B, D) of unit length.

        Raises:
            IntegrityError: one is not finite, or zero.
        """
        file = self.given.files[self.number]
        given = read_array(file)[self.start : self.start + ROWS_AT_ONCE]
        given = np.asarray(given, np.result_type(given.dtype, np.float32))
        with np.errstate(all="ignore"):
            # By the largest value first, so that no square is too large or too small.
            largest = np.abs(given).max(axis=1, keepdims=True)
            vectors = np.asarray(given / largest, np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        wrong = ~np.isfinite(vectors).all(axis=1)
        if wrong.any():
            row = self.start + int(np.flatnonzero(wrong)[0])
            raise IntegrityError(f"{file}: row {row} is no vector: it is zero or not finite")
        return vectors

    def pictures(self) -> list[Path]:
        """B absolute paths; of vectors without pictures that of their file, with the row."""
        return self._pictures(self._table())

    def items(self) -> list[Item]:
        """B items."""
        table = self._table()
        following = range(self.first_id, self.first_id + self.count)
        ids = following if self.anew else table.get(ID) or following
        values = self.given.metadata.values(table, self.count)
        return [
            Item(number, path.relative_to(self.root).as_posix(), None, None, None, row)
            for number, path, row in zip(ids, self._pictures(table), values, strict=True)
        ]

    @property
    def count(self) -> int:
        """B."""
        return min(ROWS_AT_ONCE, self.given.counts[self.number] - self.start)

    def _table(self) -> dict[str, list[Any]]:
        return self.given.metadata.table(self.number, self.start, self.count)

    def _pictures(self, table: dict[str, list[Any]]) -> list[Path]:
        file = self.given.files[self.number].name.encode("utf-8", "backslashreplace").decode()
        folder = self.given.metadata.root
        return self.given.metadata.pictures(table) or [
            folder / f"{file}#{self.start + row}" for row in range(self.count)
        ]


@dataclass
class ImportedEmbeddings:
    """The files of a folder, in numerical order.

    Attributes:
        folder: where they lie.
        files: of vectors.
        counts: rows of each.
        dimensions: D.
        metadata: of their rows.
    """

    folder: Path
    files: list[Path]
    counts: list[int]
    dimensions: int
    metadata: ImportedMetadata

    @classmethod
    def open(cls, folder: Path) -> "ImportedEmbeddings":
        """Looks at every file's header.

        Raises:
            NotFoundError: there are no .npy files.
            IntegrityError: a file is damaged, or files do not fit one another.
            MissingExtraError: there is metadata and pyarrow is not installed.
        """
        place = folder / "img_emb" if (folder / "img_emb").is_dir() else folder
        files = sorted(filter(Path.is_file, place.glob("*.npy")), key=_numerically)
        if not files:
            raise NotFoundError(f"no .npy files of embeddings in {place}")
        shapes = [shape_of_vectors(file) for file in files]
        widths = {width: file for (_, width), file in zip(shapes, files, strict=True)}
        if len(widths) > 1:
            named = ", ".join(f"{width} in {file.name}" for width, file in sorted(widths.items()))
            raise IntegrityError(f"embeddings in {place} differ in their dimensions: {named}")
        counts = [count for count, _ in shapes]
        tables = sorted((folder / "metadata").glob("*.parquet"), key=_numerically)
        metadata = ImportedMetadata(folder, tables)
        metadata.check(counts)
        for file, table in zip(files, tables, strict=False):
            if _number(file) != _number(table):
                raise IntegrityError(f"{file.name} and {table.name} do not belong together")
        if not sum(counts):
            raise NotFoundError(f"the .npy files in {place} hold no vectors")
        given = cls(folder, files, counts, shapes[0][1], metadata)
        given._check_whole()
        return given

    @classmethod
    def of_file(cls, file: Path) -> "ImportedEmbeddings":
        """One .npy file without metadata.

        Raises:
            NotFoundError: it is not there.
            IntegrityError: it holds no vectors.
        """
        if not file.is_file():
            raise NotFoundError(f"no file of vectors at {file}")
        count, dimensions = shape_of_vectors(file)
        if count == 0:
            raise NotFoundError(f"{file} holds no vectors")
        return cls(file.parent, [file], [count], dimensions, ImportedMetadata(file.parent, []))

    @property
    def count(self) -> int:
        """N."""
        return sum(self.counts)

    @cached_property
    def plan(self) -> dict[str, Any] | None:
        """What `fgembed embed` says of them, None of another's embeddings."""
        file = self.folder / PLAN_FILE
        content = read_json(file, "plan of embeddings") if file.is_file() else {}
        return content if content.get("model_type") == MODEL_TYPE else None

    def parts(self, first: int = 0, anew: bool = False, root: Path | None = None) -> list[Slice]:
        """All of it, some rows at a time.

        Ids that are not given, or all if they are to be numbered `anew`, count from `first`. Items'
        paths are relative to `root`, the folder below which all pictures lie if None.
        """
        root = root or self.metadata.root
        parts = []
        for number, count in enumerate(self.counts):
            starts = range(0, count, ROWS_AT_ONCE)
            parts += [Slice(self, number, start, first + start, anew, root) for start in starts]
            first += count
        return parts

    def source(self) -> Source:
        """All of it."""
        root, columns = str(self.metadata.root), self.metadata.columns
        return Source(self.parts(), self.count, self.dimensions, root, columns)

    def _check_whole(self) -> None:
        plan = self.plan or {}
        pictures, size = plan.get("pictures"), plan.get("part_size")
        if not (isinstance(pictures, int) and isinstance(size, int) and size > 0):
            return
        expected = -(-pictures // size)
        if len(self.files) < expected:
            raise IntegrityError(
                f"{self.folder} has {len(self.files)} of its {expected} parts",
                'run "fgembed embed" again, which goes on with the others',
            )


def _numerically(file: Path) -> tuple[str | int, ...]:
    """10.npy comes after 9.npy."""
    return tuple(int(n) if n.isdecimal() else n for n in re.split(r"(\d+)", file.name))


def _number(file: Path) -> int | None:
    """The last number in a file's name."""
    found = re.findall(r"\d+", file.stem)
    return int(found[-1]) if found else None
