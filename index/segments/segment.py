"""One segment: vectors, their ids, their metadata, and the structure that searches them."""

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fgembed.disk.files import sha256
from fgembed.disk.flushing import sync
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import ConfigError, IntegrityError
from fgembed.index.format.free_names import next_name
from fgembed.index.format.manifest import (
    IDS_FILE,
    ITEMS_FILE,
    REBUILD,
    REQUIRED_FILES,
    ROWS_FILE,
    STRUCTURE_FILE,
    Measured,
    Segment,
)
from fgembed.index.format.metadata_table import Item, open_items, positions_of, write_items
from fgembed.index.format.npy_files import read_ids
from fgembed.index.segments.faiss_index import Mask, Parameters, Structure, read_structure
from fgembed.index.segments.vector_file import VectorFile

EXACT_SHARE = 0.05  # of the vectors: where a filter selects less, all that it selects are compared
EXACT_COUNT = 10_000


@dataclass(frozen=True)
class SearchSetup:
    """How a new segment is searched: exactly, or by a tuned structure.

    Attributes:
        measured: recall and time.
        factory: FAISS's factory string of the structure; empty for exact search.
        parameters: of the search, as tuned.
        structure: of all vectors; None for exact search.
    """

    measured: Measured
    factory: str = ""
    parameters: Parameters = field(default_factory=dict)
    structure: Structure | None = None


class OpenSegment:
    """A segment that is open for search, without its removed vectors.

    Attributes:
        entry: the segment in the manifest.
        rows: the vectors, in memory or mapped.
        ids: of the vectors (N,).
        connection: to the table of items.
        structure: proposes candidates; None for exact search.
        live: positions that were not removed (N,); None if none was removed.
    """

    def __init__(
        self,
        entry: Segment,
        rows: VectorFile,
        ids: Ids,
        connection: sqlite3.Connection,
        structure: Structure | None,
        removed: Ids,
    ) -> None:
        self.entry = entry
        self.rows = rows
        self.ids = ids
        self.connection = connection
        self.structure = structure
        is_removed = np.isin(ids, removed, assume_unique=True)
        self.live: Mask | None = ~is_removed if is_removed.any() else None

    @classmethod
    def open(cls, folder: Path, entry: Segment, dimensions: int, removed: Ids) -> "OpenSegment":
        """Opens the files, whose checksums must have been checked before.

        Raises:
            IntegrityError: a file is not what the manifest says.
        """
        files = folder / entry.name
        ids = read_ids(files / IDS_FILE)
        rows = VectorFile.open(files / ROWS_FILE, entry.count, dimensions, ids)
        if len(ids) != entry.count:
            raise IntegrityError(
                f"{files / IDS_FILE} holds {len(ids)} ids, expected {entry.count}", REBUILD
            )
        return cls(
            entry=entry,
            rows=rows,
            ids=ids,
            connection=open_items(files / ITEMS_FILE),
            structure=read_structure(files / STRUCTURE_FILE, rows) if entry.factory else None,
            removed=removed,
        )

    def search(
        self,
        queries: Vectors,
        k: int,
        allowed: Mask | None = None,
        parameters: Parameters | None = None,
    ) -> tuple[Vectors, Ids]:
        """Scores and ids, (Q, k) each, by falling score, then rising id; id -1 fills up.

        Args:
            queries: unit vectors (Q, D).
            k: the number of results per query.
            allowed: positions that are searched (N,), None for all that were not removed.
            parameters: replace the tuned ones.
        """
        allowed = self.live if allowed is None else allowed
        count = len(self.rows) if allowed is None else int(allowed.sum())
        parameters = self.entry.parameters | (parameters or {})
        available = min(k, count)
        if available == k:
            scores, positions = self._search(queries, k, allowed, count, parameters)
            return scores, self.ids[positions]
        scores = np.full((len(queries), k), -np.inf, np.float32)
        positions = np.full((len(queries), k), -1, np.int64)
        if available:
            results = self._search(queries, available, allowed, count, parameters)
            scores[:, :available], positions[:, :available] = results
        return scores, np.where(positions < 0, -1, self.ids[positions])

    @property
    def any_live(self) -> bool:
        """Whether any vector was not removed."""
        return self.live is None or bool(self.live.any())

    def take(self, ids: Ids) -> tuple[Ids, Vectors]:
        """The vectors of those ids (N,) that this segment has.

        Returns:
            Their indices in `ids` (M,) and their vectors (M, D).
        """
        position_of = positions_of(self.connection, ids.tolist())
        indices = np.array(
            [i for i, id_ in enumerate(ids.tolist()) if id_ in position_of], np.int64
        )
        positions = np.array([position_of[id_] for id_ in ids[indices].tolist()], np.int64)
        return indices, self.rows.take(positions)

    def _search(
        self, queries: Vectors, k: int, allowed: Mask | None, count: int, parameters: Parameters
    ) -> tuple[Vectors, Ids]:
        if self.structure is None:
            return self._exact(queries, k, allowed)
        if allowed is not None and count <= max(EXACT_COUNT, EXACT_SHARE * len(self.rows)):
            return self._exact(queries, k, allowed)
        widened = widen(parameters, len(self.rows) / count)
        scores, positions = self.structure.search(queries, k, widened, allowed)
        short = (positions < 0).any(axis=1)
        if short.any():  # the lists or the path of the search hold fewer than k
            scores[short], positions[short] = self._exact(queries[short], k, allowed)
        return scores, positions

    def _exact(self, queries: Vectors, k: int, allowed: Mask | None) -> tuple[Vectors, Ids]:
        return self.rows.exact(queries, k, None if allowed is None else np.flatnonzero(allowed))


def widen(parameters: Parameters, times: float) -> Parameters:
    """Search parameters for a filter that selects one vector in `times`.

    Example:
        >>> widen({"nprobe": 3, "k_factor": 4}, 2.5)
        {'nprobe': 8, 'k_factor': 4}
    """
    effort = {"nprobe", "efSearch"}
    return {
        name: int(np.ceil(value * times)) if name in effort else value
        for name, value in parameters.items()
    }


@contextmanager
def new_segment(folder: Path) -> Iterator[Path]:
    """A folder for a new segment below the index folder; removed if the block fails.

    Raises:
        OSError: the folder cannot be made, as on a full disk.
    """
    new = folder / next_name(folder, "seg-")
    new.mkdir(parents=True)
    try:
        yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def finish_segment(
    folder: Path, root: str, items: Iterable[Item], columns: dict[str, str], setup: SearchSetup
) -> Segment:
    """Writes a segment's files but the vectors and flushes all; gives its entry in the manifest.

    Raises:
        OSError: a file cannot be written, as on a full disk.
        ConfigError: FAISS writes the structure but does not read it.
    """
    ids = write_items(folder / ITEMS_FILE, items, columns)
    with (folder / IDS_FILE).open("wb") as stream:
        np.save(stream, ids)
    if setup.structure is not None:
        setup.structure.write(folder / STRUCTURE_FILE)
        _check_readable(folder / STRUCTURE_FILE, setup.factory, setup.structure.rows)
    for path in (*folder.iterdir(), folder, folder.parent):
        sync(path)
    names = [*REQUIRED_FILES, *([STRUCTURE_FILE] if setup.structure is not None else [])]
    size = sum((folder / name).stat().st_size for name in names)
    return Segment(
        name=folder.name,
        root=root,
        count=len(ids),
        factory=setup.factory,
        parameters=setup.parameters,
        measured=setup.measured,
        bytes_a_vector=round(size / len(ids), 1),
        columns=columns,
        files={f"{folder.name}/{name}": sha256(folder / name) for name in names},
    )


def _check_readable(file: Path, factory: str, rows: VectorFile) -> None:
    """Reads a new structure, before the index that works is replaced."""
    try:
        read_structure(file, rows)
    except IntegrityError as error:
        raise ConfigError(
            f"{factory} was built and cannot be read again: {error.fact}", "give another --kind"
        ) from None
