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

from fgembed.errors import IntegrityError, NotFoundError
from fgembed.files import read_json
from fgembed.index.arrays import read_array, shape_of_vectors
from fgembed.index.assemble import Source
from fgembed.index.given_metadata import ID, GivenMetadata
from fgembed.index.items import Item
from fgembed.index.shard_plan import MODEL_TYPE, PLAN_FILE
from fgembed.metrics import Vectors

UNIT = 1e-3  # vectors whose length differs from 1 by more are brought to length 1
ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Slice:
    """Some rows of one .npy file."""

    given: "GivenEmbeddings"
    number: int
    start: int
    first_id: int
    numbered: bool

    def vectors(self) -> Vectors:
        """(B, D) of unit length.

        Raises:
            IntegrityError: one is not finite, or zero.
        """
        file = self.given.files[self.number]
        array = read_array(file)
        vectors = np.asarray(array[self.start : self.start + ROWS_AT_ONCE], np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        wrong = ~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0)
        if wrong.any():
            row = self.start + int(np.flatnonzero(wrong)[0])
            raise IntegrityError(f"{file}: row {row} is no vector: it is zero or not finite")
        if np.abs(lengths - 1).max(initial=0) <= UNIT:
            return vectors
        scaled: Vectors = vectors / lengths
        return scaled

    def items(self) -> list[Item]:
        """B items."""
        count = min(ROWS_AT_ONCE, self.given.counts[self.number] - self.start)
        metadata, file = self.given.metadata, self.given.files[self.number].name
        table = metadata.table(self.number, self.start, count)
        following = range(self.first_id, self.first_id + count)
        ids = following if self.numbered else table.get(ID) or following
        paths = metadata.paths(table) or [f"{file}#{self.start + row}" for row in range(count)]
        return [
            Item(int(number), path, None, None, None, values)
            for number, path, values in zip(ids, paths, metadata.values(table, count), strict=True)
        ]


@dataclass
class GivenEmbeddings:
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
    metadata: GivenMetadata

    @classmethod
    def open(cls, folder: Path) -> "GivenEmbeddings":
        """Looks at every file's header.

        Raises:
            NotFoundError: there are no .npy files.
            IntegrityError: a file is damaged, or files do not fit one another.
            MissingExtraError: there is metadata and pyarrow is not installed.
        """
        place = folder / "img_emb" if (folder / "img_emb").is_dir() else folder
        files = sorted(place.glob("*.npy"), key=_numerically)
        if not files:
            raise NotFoundError(f"no .npy files of embeddings in {place}")
        shapes = [shape_of_vectors(file) for file in files]
        widths = {width: file for (_, width), file in zip(shapes, files, strict=True)}
        if len(widths) > 1:
            named = ", ".join(f"{width} in {file.name}" for width, file in sorted(widths.items()))
            raise IntegrityError(f"embeddings in {place} differ in their dimensions: {named}")
        counts = [count for count, _ in shapes]
        tables = sorted((folder / "metadata").glob("*.parquet"), key=_numerically)
        metadata = GivenMetadata(folder, tables)
        metadata.check(counts)
        if not sum(counts):
            raise NotFoundError(f"the .npy files in {place} hold no vectors")
        return cls(folder, files, counts, shapes[0][1], metadata)

    @classmethod
    def of_file(cls, file: Path) -> "GivenEmbeddings":
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
        return cls(file.parent, [file], [count], dimensions, GivenMetadata(file.parent, []))

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

    def parts(self, first: int = 0, numbered: bool = False) -> list[Slice]:
        """All of it, some rows at a time.

        Ids that are not given, or all if they are to be `numbered`, count from `first`.
        """
        parts = []
        for number, count in enumerate(self.counts):
            starts = range(0, count, ROWS_AT_ONCE)
            parts += [Slice(self, number, start, first + start, numbered) for start in starts]
            first += count
        return parts

    def source(self, first: int = 0, numbered: bool = False) -> Source:
        """All of it, with ids as for `parts`."""
        metadata = self.metadata
        parts = self.parts(first, numbered)
        return Source(parts, self.count, self.dimensions, str(metadata.root), metadata.columns)


def _numerically(file: Path) -> tuple[str | int, ...]:
    """10.npy comes after 9.npy."""
    return tuple(int(n) if n.isdecimal() else n for n in re.split(r"(\d+)", file.name))
