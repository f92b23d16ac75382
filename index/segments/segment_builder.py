"""Writes a new segment: vectors, a suitable structure, its tuning, metadata."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from fgembed.cores import core_count
from fgembed.embedding.array_types import Ids, Vectors
from fgembed.embedding.sampling import evenly_spaced
from fgembed.errors import ConfigError
from fgembed.index.format.manifest import ROWS_FILE, Measured, Segment
from fgembed.index.format.metadata_table import Item
from fgembed.index.segments import kinds
from fgembed.index.segments.faiss_building import add_remaining, build_structure
from fgembed.index.segments.faiss_index import Parameters, Structure
from fgembed.index.segments.faiss_memory import faiss_threads
from fgembed.index.segments.kinds import Size, factory_string, structure_bytes
from fgembed.index.segments.segment import SearchSetup, finish_segment, new_segment
from fgembed.index.segments.tuning import K, TuningResult, single_query_ms, tune
from fgembed.index.segments.vector_file import VectorFile, write_rows
from fgembed.progress import ReportStep, silent

QUERIES = 1000  # held out at most: half to tune, half to measure
TRAINING_SHARE = 0.25  # of the memory, for the training sample
MIN_SAMPLE = 1 << 16  # vectors for the training, where there are as many
SEED = 0


class Part(Protocol):
    """A batch of vectors and their items, in the same order."""

    def vectors(self) -> Vectors:
        """(B, D), perhaps mapped."""
        ...

    def items(self) -> Sequence[Item]:
        """B items; their paths are relative to the segment's root."""
        ...


@dataclass(frozen=True)
class Source:
    """The content of a new segment.

    Attributes:
        parts: all vectors and items, in batches.
        count: N.
        dimensions: D.
        root: the folder that the items' paths are relative to.
        columns: of the metadata, with SQLite's types.
    """

    parts: Sequence[Part]
    count: int
    dimensions: int
    root: str
    columns: dict[str, str]


@dataclass(frozen=True)
class IndexSettings:
    """The settings of an index.

    Attributes:
        kind: one of `kinds.KINDS`, `auto`, or a FAISS factory string.
        store: type of the stored vectors, `float32` or `float16`; None takes float16 where
            float32 would need more than half of the memory.
        recall_target: recall@10 that the search is tuned to.
        memory_bytes: that building and searching may take.

    Example:
        >>> IndexSettings("ivf", memory_bytes=1_000_000).store_for(1000, 256)
        'float16'
    """

    kind: str = "auto"
    store: str | None = None
    recall_target: float = 0.95
    memory_bytes: int = 2_000_000_000

    def store_for(self, count: int, dimensions: int) -> str:
        """The type of the stored vectors, for N vectors of D dimensions."""
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
    """Writes a segment below the index folder and gives its entry in the manifest.

    Queries for the tuning, evenly spread over the vectors, come last: the structure is tuned before
    they are added to it. Beside the structure, memory holds no more than a training sample and a
    chunk of the vectors at a time.

    Raises:
        ConfigError: FAISS cannot build the kind, or not within the memory.
        OSError: a file cannot be written, as on a full disk.
    """
    last, shape = _held_out(source.count), (source.count, source.dimensions)
    with new_segment(folder) as segment_folder:
        vectors = _in_order(source.parts, last, lambda part: part.vectors())
        write_rows(segment_folder / ROWS_FILE, vectors, shape, settings.store_for(*shape))
        rows = VectorFile.open(segment_folder / ROWS_FILE, *shape)
        with faiss_threads(core_count()):
            setup = _search_setup(rows, len(last), settings, report)
        items = chain.from_iterable(
            _in_order(source.parts, last, lambda part: _object_array(part.items()))
        )
        return finish_segment(segment_folder, source.root, items, source.columns, setup)


def _search_setup(
    rows: VectorFile, query_count: int, settings: IndexSettings, report: ReportStep
) -> SearchSetup:
    """The search of all vectors, tuned on the last `query_count` of them."""
    first = VectorFile(rows.array[: len(rows) - query_count])
    trainable = min(len(first), int(TRAINING_SHARE * settings.memory_bytes / (4 * rows.dimensions)))
    size = Size(len(rows), rows.dimensions, rows.array.dtype.name, trainable)
    factory = factory_string(settings.kind, size)
    if not factory or query_count == 0:
        return _exact(rows)
    _check_memory(factory, size, settings.memory_bytes)
    sample = np.random.default_rng(SEED).permutation(len(first))
    sample = sample[: min(trainable, max(kinds.VECTORS_A_LIST * size.lists, MIN_SAMPLE))]
    structure = build_structure(
        factory, first, sample, lambda done, total: report("indexing", done, total)
    )
    tuned = _tuned(structure, rows, settings.recall_target)
    if settings.kind == "auto" and tuned.measured.recall_at_10 < settings.recall_target:
        return _exact(rows)
    return SearchSetup(
        tuned.measured, factory, tuned.parameters, structure=add_remaining(structure, rows)
    )


def _check_memory(factory: str, size: Size, memory_bytes: int) -> None:
    needed = structure_bytes(factory, size)
    if needed > memory_bytes:
        raise ConfigError(
            f"{factory} of {size.count} vectors takes {needed / 1e9:.1f} GB while it is built, "
            f"more than the {memory_bytes / 1e9:.1f} GB of --memory",
            "raise it, or give --kind ivfpq",
        )


def _exact(rows: VectorFile) -> SearchSetup:
    """Exact search, timed."""
    queries = rows.take(np.arange(min(len(rows), 20)))
    query_ms = single_query_ms(lambda batch, k, _: rows.exact(batch, k)[0], queries, {})
    return SearchSetup(Measured(queries=0, recall_at_10=1.0, query_ms=query_ms))


def _tuned(structure: Structure, rows: VectorFile, recall_target: float) -> TuningResult:
    """Tuned on the vectors that the structure does not have."""
    queries = rows.take(np.arange(len(structure.rows), len(rows)))

    def search(batch: Vectors, k: int, parameters: Parameters) -> Vectors:
        return structure.search(batch, min(k, len(structure.rows)), parameters)[0]

    return tune(structure, search, queries, structure.rows.exact(queries, K)[0], recall_target)


def _held_out(count: int) -> Ids:
    """Evenly spread positions, a tenth at most."""
    return evenly_spaced(count, min(QUERIES, count // 10))


def _object_array(items: Sequence[Item]) -> np.ndarray:
    """Items as an array (B,), so that a mask selects among them as among vectors."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _in_order(
    parts: Sequence[Part], last: Ids, content: Callable[[Part], np.ndarray]
) -> Iterator[np.ndarray]:
    """The parts' contents, those at the positions `last` (sorted) after all others."""
    start, moved = 0, []
    for part in parts:
        batch = content(part)
        is_last = np.zeros(len(batch), bool)
        is_last[last[(last >= start) & (last < start + len(batch))] - start] = True
        moved.append(batch[is_last])
        yield batch[~is_last] if is_last.any() else batch
        start += len(batch)
    yield from moved
