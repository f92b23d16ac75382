"""The index format: `manifest.json` lists immutable segments and binds them to a model.

The manifest is replaced last and atomically, so a reader sees the old index or the new one.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from fgembed.disk.json_records import record
from fgembed.disk.locks import LOCK_FILE
from fgembed.disk.sealed_files import read_sealed_json, write_sealed_json
from fgembed.errors import IntegrityError, NotFoundError
from fgembed.index.format.metadata_columns import merged_columns

INDEX_FORMAT = 4
UNSEALED_FORMAT = 3  # like 4, without a checksum of the manifest
MODEL_TYPE = "fgembed-index"
MANIFEST_FILE = "manifest.json"
SKIPPED_FILE = "skipped.jsonl"
PROVED_FILE = ".proved.json"
PENDING_FOLDER = "pending"
ROWS_FILE = "vectors.npy"
IDS_FILE = "ids.npy"
ITEMS_FILE = "items.sqlite"
STRUCTURE_FILE = "vectors.faiss"
REBUILD = 'build the index again with "fgembed index build", or restore the file from a copy'
STORES = ("float32", "float16")
REQUIRED_FILES = (ROWS_FILE, IDS_FILE, ITEMS_FILE)
SEGMENT_PATTERN = "seg-[0-9][0-9][0-9][0-9][0-9][0-9]*"
REMOVED_PATTERN = "removed-[0-9]*.npy"
ENTRY_PATTERNS = (
    MANIFEST_FILE, SKIPPED_FILE, LOCK_FILE, PROVED_FILE, PENDING_FOLDER,
    SEGMENT_PATTERN, REMOVED_PATTERN, ".*.tmp-*",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Recall and time of a segment's search, on queries held out of the segment and the tuning.

    Attributes:
        queries: their number; 0 for exact search, whose recall needs no measurement.
        recall_at_10: of exact search; 1.0 for exact search itself.
        query_ms: median time of a single query, searched alone on one thread, warm. The time of a
            query within a batch is `TuningPoint.batch_query_ms`.
    """

    queries: int
    recall_at_10: float
    query_ms: float


@dataclass(frozen=True)
class Segment:
    """An immutable part: a folder with vectors, ids, items and, unless exact, a FAISS index.

    Attributes:
        name: of the folder, `seg-000001`.
        root: the images' folder, absolute; item paths are relative to it.
        count: N vectors, those removed since included.
        factory: FAISS's factory string of the structure; empty for exact search.
        parameters: of the search, as tuned: `nprobe`, `efSearch`, `k_factor`.
        measured: recall and time with these parameters.
        bytes_a_vector: of all files.
        columns: of the metadata, beside those of fgembed, with SQLite's types.
        files: SHA-256 of each file, by its name below the index folder.
    """

    name: str
    root: str
    count: int
    factory: str
    parameters: dict[str, int]
    measured: Measured
    bytes_a_vector: float
    columns: dict[str, str]
    files: dict[str, str]

    def file_names(self) -> set[str]:
        """The files that the segment must have, below the index folder."""
        structure = [STRUCTURE_FILE] if self.factory else []
        return {f"{self.name}/{name}" for name in (*REQUIRED_FILES, *structure)}


@dataclass(frozen=True)
class Removed:
    """The removed ids, as a file of sorted int64."""

    file: str
    count: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """The model that embedded the vectors and must embed the queries.

    Attributes:
        bundle: its folder, relative to the index folder if possible.
        fingerprint: of the weights and the preprocessing.
        precision: of the bundle's model file; queries are embedded by the same.
        preprocessing: digest of the preprocessing.
    """

    bundle: str
    fingerprint: str
    precision: str
    preprocessing: str


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        model: of the vectors, None for embeddings that were imported without one.
        dimensions: D.
        count: vectors that a search can return.
        kind: as requested: one of `kinds.KINDS`, `auto`, or a FAISS factory string.
        store: type of the stored vectors, `float32` or `float16`.
        recall: the recall@10 that searches are tuned to.
        memory: bytes that building and searching may take.
        next_id: of the next new vector; ids are never used twice.
        roots: folders that images were indexed from; the first level below is their label.
        removed: ids that are still in segments and that no search returns.
        segments: oldest first.
    """

    model: Model | None
    dimensions: int
    count: int
    kind: str
    store: str
    recall: float
    memory: int
    next_id: int
    roots: list[str]
    removed: Removed | None = None
    segments: list[Segment] = field(default_factory=list)

    @property
    def main(self) -> Segment:
        """The largest segment; an empty one if there is none."""
        empty = Segment(
            name="",
            root="",
            count=0,
            factory="",
            parameters={},
            measured=Measured(queries=0, recall_at_10=1.0, query_ms=0.0),
            bytes_a_vector=0.0,
            columns={},
            files={},
        )
        return max(self.segments, key=lambda segment: segment.count, default=empty)

    @property
    def columns(self) -> dict[str, str]:
        """Every column of the metadata, beside those of fgembed, with its type."""
        return merged_columns(part.columns for part in self.segments)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of the index in `folder`.

        Raises:
            NotFoundError: there is no index.
            IntegrityError: it is damaged, foreign, or of an unknown format.
        """
        file = folder / MANIFEST_FILE
        content = _read_content(folder)
        version = content.pop("format", None)
        if version not in (INDEX_FORMAT, UNSEALED_FORMAT):
            raise IntegrityError(
                f"{folder} is an index of format {version!r}, this fgembed reads {INDEX_FORMAT}",
                'build it again with "fgembed index build"',
            )
        try:
            manifest = record(cls, content)
            manifest._check_values()
        except (ValueError, TypeError) as error:
            raise IntegrityError(f"index file {file} is damaged: {error}", REBUILD) from None
        return manifest

    def _check_values(self) -> None:
        if min((segment.count for segment in self.segments), default=1) < 1:
            raise ValueError("a segment has no vectors")
        for name in ("dimensions", "memory"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}")
        if not 0 < self.recall <= 1:
            raise ValueError(f"a recall of {self.recall}")
        if self.next_id < self.count:
            raise ValueError(f"next id {self.next_id} of {self.count} images")
        wrong = [p for s in self.segments for p in s.parameters.items() if not 0 < p[1] < 1 << 31]
        if wrong:
            raise ValueError(f"search parameter {wrong[0][0]} {wrong[0][1]}")
        if self.store not in STORES:
            raise ValueError(f"vectors stored as {self.store!r}")
        removed = self.removed.count if self.removed else 0
        if sum(segment.count for segment in self.segments) != self.count + removed:
            raise ValueError("the segments' counts do not add up")
        for segment in self.segments:
            if segment.files.keys() != segment.file_names():
                raise ValueError(f"checksums of {segment.name} are missing or too many")

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every file, by its name below the index folder."""
        files = {name: sha for part in self.segments for name, sha in part.files.items()}
        return files | ({self.removed.file: self.removed.sha256} if self.removed else {})

    def write(self, folder: Path) -> None:
        """Publishes the index: until this returns, readers see the previous one."""
        content = {"model_type": MODEL_TYPE, "format": INDEX_FORMAT} | asdict(self)
        write_sealed_json(folder / MANIFEST_FILE, content)


def _read_content(folder: Path) -> dict[str, Any]:
    """The manifest as JSON, of any version of the format.

    Raises:
        NotFoundError: there is no index.
        IntegrityError: it is damaged or foreign.
    """
    remedy = 'give another folder, or make an index with "fgembed index build"'
    file = folder / MANIFEST_FILE
    if not file.is_file():
        if folder.is_dir() and any(not is_index_entry(path.name) for path in folder.iterdir()):
            raise IntegrityError(f"{folder} is no fgembed index: it has no {MANIFEST_FILE}", remedy)
        raise NotFoundError(f"no index at {folder}", 'make one with "fgembed index build"')
    command = "fgembed index build"
    content = read_sealed_json(file, "index file", {INDEX_FORMAT}, command, editable=True)
    if content.pop("model_type", None) != MODEL_TYPE:
        raise IntegrityError(
            f"{folder} is no fgembed index: another program wrote {MANIFEST_FILE}", remedy
        )
    return content


def is_index_entry(name: str) -> bool:
    """Whether fgembed writes entries of this name to an index folder."""
    return any(Path(name).match(pattern) for pattern in ENTRY_PATTERNS)
