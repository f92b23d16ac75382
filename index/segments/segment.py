"""One segment: vectors, their ids, their items, and what finds candidates among them."""

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgembed.disk.files import sha256, sync
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.errors import ConfigError, IntegrityError
from fgembed.index.format.manifest import (
    ALWAYS,
    IDS_FILE,
    ITEMS_FILE,
    ROWS_FILE,
    STRUCTURE_FILE,
    Measured,
    Segment,
    next_name,
)
from fgembed.index.format.metadata_table import Item, open_items, positions_of, write_items
from fgembed.index.format.npy_files import read_array
from fgembed.index.segments.faiss_index import Mask, Parameters, Structure, read_structure
from fgembed.index.segments.vector_file import VectorFile

EXACT_SHARE = 0.05  # of the vectors: where a filter keeps less, those it keeps are all compared
EXACT_COUNT = 10_000
TUNED: Parameters = {}
EXACT = Measured(0, 1.0, 0.0)


@dataclass(frozen=True)
class Made:
    """What searches a new segment: nothing, for exact search, or a tuned structure."""

    factory: str = ""
    parameters: Parameters | None = None
    measured: Measured = EXACT
    structure: Structure | None = None


class OpenSegment:
    """A segment's vectors in memory or mapped, with what was removed from them left out."""

    def __init__(
        self,
        entry: Segment,
        rows: VectorFile,
        ids: Ids,
        base: sqlite3.Connection,
        structure: Structure | None,
        removed: Ids,
    ) -> None:
        self.entry = entry
        self.rows = rows
        self.ids = ids
        self.base = base
        self.structure = structure
        gone = np.isin(ids, removed, assume_unique=True) if len(removed) else np.zeros(0, bool)
        self.live: Mask | None = ~gone if gone.any() else None

    @classmethod
    def open(cls, folder: Path, entry: Segment, dimensions: int, removed: Ids) -> "OpenSegment":
        """Opens the files; `prove` must have read them before.

        Raises:
            IntegrityError: a file is not what the manifest says.
        """
        place = folder / entry.name
        rows = VectorFile.open(place / ROWS_FILE, entry.count, dimensions)
        ids = read_ids(place / IDS_FILE)
        if len(ids) != entry.count:
            raise IntegrityError(f"{place / IDS_FILE} holds {len(ids)} ids, not {entry.count}")
        structure = read_structure(place / STRUCTURE_FILE, rows) if entry.factory else None
        return cls(entry, rows, ids, open_items(place / ITEMS_FILE), structure, removed)

    def search(
        self, queries: Vectors, k: int, allowed: Mask | None = None, parameters: Parameters = TUNED
    ) -> tuple[Vectors, Ids]:
        """Scores and ids, (Q, k) each, by falling score; id -1 where there are fewer.

        Args:
            queries: unit vectors (Q, D).
            k: how many.
            allowed: positions that may be found, None for all that were not removed.
            parameters: in place of the tuned ones.
        """
        allowed = self.live if allowed is None else allowed
        count = len(self.rows) if allowed is None else int(allowed.sum())
        some = min(k, count)
        if some == k:
            scores, positions = self._search(queries, k, allowed, count, parameters)
            return scores, self.ids[positions]
        scores = np.full((len(queries), k), -np.inf, np.float32)
        positions = np.full((len(queries), k), -1, np.int64)
        if some:
            found = self._search(queries, some, allowed, count, parameters)
            scores[:, :some], positions[:, :some] = found
        return scores, np.where(positions < 0, -1, self.ids[positions])

    @property
    def any_live(self) -> bool:
        """Whether a search can find any of its vectors."""
        return self.live is None or bool(self.live.any())

    def take(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Those of the ids (N,) that are here, as places in `ids`, and their vectors."""
        where = positions_of(self.base, ids.tolist())
        here = np.array([i for i, number in enumerate(ids.tolist()) if number in where], np.int64)
        positions = np.array([where[number] for number in ids[here].tolist()], np.int64)
        return here, self.rows.take(positions)

    def _search(
        self, queries: Vectors, k: int, allowed: Mask | None, count: int, given: Parameters
    ) -> tuple[Vectors, Ids]:
        if self.structure is None:
            return self._exact(queries, k, allowed)
        if allowed is not None and count <= max(EXACT_COUNT, EXACT_SHARE * len(self.rows)):
            return self._exact(queries, k, allowed)
        widened = widen(self.entry.parameters | given, len(self.rows) / count)
        scores, positions = self.structure.search(queries, k, widened, allowed)
        short = (positions < 0).any(axis=1)
        if short.any():  # the lists or the path it took hold fewer than there are
            scores[short], positions[short] = self._exact(queries[short], k, allowed)
        return scores, positions

    def _exact(self, queries: Vectors, k: int, allowed: Mask | None) -> tuple[Vectors, Ids]:
        return self.rows.exact(queries, k, None if allowed is None else np.flatnonzero(allowed))


def widen(parameters: Parameters, times: float) -> Parameters:
    """Search parameters for a filter that keeps one vector in `times`."""
    grown = {"nprobe", "efSearch"}
    return {
        name: int(np.ceil(value * times)) if name in grown else value
        for name, value in parameters.items()
    }


def read_ids(file: Path) -> Ids:
    """The ids (N,) in a file.

    Raises:
        IntegrityError: it holds something else.
    """
    try:
        ids: Ids = np.array(read_array(file))
    except ValueError as error:
        raise IntegrityError(f"{file} is damaged: {error}") from None
    if ids.ndim != 1 or ids.dtype != np.int64:
        raise IntegrityError(f"{file} is damaged: expected a list of int64")
    return ids


@contextmanager
def new_segment(folder: Path) -> Iterator[Path]:
    """A folder for a new segment below the index folder; gone if the block fails.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    place = folder / next_name(folder, "seg-")
    place.mkdir(parents=True)
    try:
        yield place
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def finish_segment(
    place: Path, root: str, items: Iterable[Item], columns: dict[str, str], made: Made
) -> Segment:
    """Writes all but the vectors, flushes everything, and gives the entry for the manifest.

    Raises:
        OSError: it cannot be written, as on a full disk.
        ConfigError: FAISS writes the structure and does not read it.
    """
    ids = write_items(place / ITEMS_FILE, items, columns)
    with (place / IDS_FILE).open("wb") as stream:
        np.save(stream, ids)
    if made.structure is not None:
        made.structure.write(place / STRUCTURE_FILE)
        _read_back(place / STRUCTURE_FILE, made)
    for path in (*place.iterdir(), place, place.parent):
        sync(path)
    names = [*ALWAYS, *([STRUCTURE_FILE] if made.structure is not None else [])]
    files = {f"{place.name}/{name}": sha256(place / name) for name in names}
    size = sum((place / name).stat().st_size for name in names)
    return Segment(
        place.name, root, len(ids), made.factory, made.parameters or {}, made.measured,
        round(size / len(ids), 1), columns, files,
    )  # fmt: skip


def _read_back(file: Path, made: Made) -> None:
    """Before an index that works is replaced by this one."""
    assert made.structure is not None
    try:
        read_structure(file, made.structure.rows)
    except IntegrityError as error:
        raise ConfigError(f"{made.factory} was built and cannot be read again: {error}") from None
