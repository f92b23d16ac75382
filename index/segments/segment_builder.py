"""A new segment out of parts: rows, the structure that suits them, its tuning, the items."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from fgembed.embedding.array_types import Ids, Vectors
from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import ConfigError
from fgembed.index.format.manifest import ROWS_FILE, Measured, Segment
from fgembed.index.format.metadata_table import Item
from fgembed.index.segments import kinds
from fgembed.index.segments.faiss_building import build_structure, grown
from fgembed.index.segments.faiss_index import Structure
from fgembed.index.segments.kinds import Size, factory_string, structure_bytes
from fgembed.index.segments.segment import Made, finish_segment, new_segment
from fgembed.index.segments.tuning import K, Tuned, one_by_one, tune
from fgembed.index.segments.vector_file import VectorFile, write_rows
from fgembed.progress import ReportStep, silent

QUERIES = 1000  # held out at most, half for tuning and half for what is reported
TRAINING_SHARE = 0.25  # of the memory, for the training sample
SEED = 0


class Part(Protocol):
    """Some vectors and what belongs to them, in the same order."""

    def vectors(self) -> Vectors:
        """(B, D), perhaps mapped."""
        ...

    def items(self) -> Sequence[Item]:
        """B items; their paths are relative to the segment's root."""
        ...


@dataclass(frozen=True)
class Source:
    """What a segment is made of.

    Attributes:
        parts: all of it, some rows at a time.
        count: N.
        dimensions: D.
        root: the folder that the items' paths are relative to.
        columns: of their metadata, with SQLite's types.
    """

    parts: Sequence[Part]
    count: int
    dimensions: int
    root: str
    columns: dict[str, str]


@dataclass(frozen=True)
class IndexSettings:
    """What an index is to be.

    Attributes:
        kind: one of `kinds.KINDS`, `auto`, or a FAISS factory string.
        store: how vectors are kept, `float32` or `float16`; float16 where None is given and
            float32 would take more than half of the memory.
        recall_target: recall@10 that the search is tuned to.
        memory_bytes: that building and searching may take.
    """

    kind: str = "auto"
    store: str | None = None
    recall_target: float = 0.95
    memory_bytes: int = 2_000_000_000

    def stored(self, count: int, dimensions: int) -> str:
        """How so many vectors are kept."""
        return self.store or (
            "float16" if 4 * count * dimensions > self.memory_bytes / 2 else "float32"
        )


DEFAULTS = IndexSettings()


def assemble(
    folder: Path,
    source: Source,
    settings: IndexSettings,
    report: ReportStep = silent,
) -> Segment:
    """Writes a segment below the index folder and gives its entry for the manifest.

    Some vectors, evenly spread, come last: the structure is tuned on them before it gets them.
    No more than a training sample and a chunk of the vectors is in memory at a time, beside the
    structure.

    Raises:
        ConfigError: the kind cannot be built, or not within the memory.
        OSError: it cannot be written, as on a full disk.
    """
    last, shape = _held_out(source.count), (source.count, source.dimensions)
    with new_segment(folder) as place:
        vectors = _in_order(source.parts, last, lambda part: part.vectors())
        write_rows(place / ROWS_FILE, vectors, shape, settings.stored(*shape))
        rows = VectorFile.open(place / ROWS_FILE, *shape)
        made = _make(rows, len(last), settings, report)
        items = _in_order(source.parts, last, lambda part: _array(part.items()))
        return finish_segment(place, source.root, chain.from_iterable(items), source.columns, made)


def _make(rows: VectorFile, held: int, settings: IndexSettings, report: ReportStep) -> Made:
    kept = VectorFile(rows.array[: len(rows) - held])
    trainable = min(len(kept), int(TRAINING_SHARE * settings.memory_bytes / (4 * rows.dimensions)))
    size = Size(len(rows), rows.dimensions, rows.array.dtype.name, trainable)
    factory = factory_string(settings.kind, size)
    if not factory or held == 0:
        return _exact(rows)
    needed = structure_bytes(factory, size)
    if needed > settings.memory_bytes:
        raise ConfigError(
            f"{factory} of {len(rows)} vectors takes {needed / 1e9:.1f} GB while it is built, "
            f"more than the {settings.memory_bytes / 1e9:.1f} GB of --memory",
            "raise it, or take ivfpq",
        )
    sample = np.random.default_rng(SEED).permutation(len(kept))
    sample = sample[: min(trainable, max(kinds.VECTORS_A_LIST * size.lists, 1 << 16))]
    structure = build_structure(
        factory, kept, sample, lambda done, total: report("indexing", done, total)
    )
    tuned = _tuned(structure, rows, held, settings.recall_target)
    if settings.kind == "auto" and tuned.measured.recall_at_10 < settings.recall_target:
        return _exact(rows)
    return Made(factory, tuned.parameters, tuned.measured, grown(structure, rows))


def _exact(rows: VectorFile) -> Made:
    """Exact search, timed."""
    queries = rows.take(np.arange(min(len(rows), 20)))
    alone = one_by_one(lambda some, k, _: rows.exact(some, k)[0], queries, {})
    return Made(measured=Measured(0, 1.0, alone))


def _tuned(structure: Structure, rows: VectorFile, held: int, recall_target: float) -> Tuned:
    queries = rows.take(np.arange(len(rows) - held, len(rows)))

    def search(some: Vectors, k: int, parameters: dict[str, int]) -> Vectors:
        return structure.search(some, min(k, len(structure.rows)), parameters)[0]

    return tune(structure, search, queries, structure.rows.exact(queries, K)[0], recall_target)


def _held_out(count: int) -> Ids:
    """Evenly spread places, a tenth at most."""
    return evenly_spaced(count, min(QUERIES, count // 10))


def _array(items: Sequence[Item]) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _in_order(
    parts: Sequence[Part], last: Ids, content: Callable[[Part], np.ndarray]
) -> Iterator[np.ndarray]:
    """The parts' contents without those at the places `last`, which come at the end."""
    start, held = 0, []
    for part in parts:
        some = content(part)
        here = last[(last >= start) & (last < start + len(some))] - start
        taken = np.zeros(len(some), bool)
        taken[here] = True
        held.append(some[taken])
        yield some[~taken] if len(here) else some
        start += len(some)
    yield from held
