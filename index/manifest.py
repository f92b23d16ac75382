"""The index's format: `manifest.json` names immutable segments and binds them to a model.

The manifest is replaced last and atomically, so a reader sees the old index or the new one.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from fgembed.errors import IntegrityError, NotFoundError
from fgembed.files import check_files, read_json, write_json
from fgembed.records import record

INDEX_FORMAT = 2
MODEL_TYPE = "fgembed-index"
MANIFEST_FILE = "manifest.json"
SKIPPED_FILE = "skipped.jsonl"
LOCK_FILE = ".lock"
VECTORS_FILE = "vectors.faiss"
ITEMS_FILE = "items.sqlite"
OWN_NAMES = (MANIFEST_FILE, SKIPPED_FILE, LOCK_FILE, "seg-*", ".*.tmp-*")


@dataclass(frozen=True)
class Segment:
    """One immutable part: a folder with `vectors.faiss` and `items.sqlite`.

    Attributes:
        name: the folder, `seg-000001`.
        root: the pictures' folder, absolute; item paths are relative to it.
        count: vectors in it.
        files: SHA-256 of each file, by its name below the index folder.
    """

    name: str
    root: str
    count: int
    files: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        bundle: the bundle's folder, relative to the index folder where that is possible.
        bundle_fingerprint: binds the vectors to the weights and the preprocessing.
        precision: of the bundle's model that embedded them; queries are embedded by the same.
        preprocessing: digest of the preprocessing.
        dimensions: D.
        count: vectors in all segments.
        kind: `flat` or `ivf`.
        parameters: of the search, as tuned, such as `nprobe`.
        recall_at_10: measured against exact search on a sample; 1.0 where the search is exact.
        next_id: ids are never used twice.
        segments: the parts, oldest first.
    """

    bundle: str
    bundle_fingerprint: str
    precision: str
    preprocessing: str
    dimensions: int
    count: int
    kind: str
    parameters: dict[str, int]
    recall_at_10: float
    next_id: int
    segments: list[Segment]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of the index in `folder`.

        Raises:
            NotFoundError: there is no index.
            IntegrityError: it is damaged, foreign, or of an unknown format.
        """
        file = folder / MANIFEST_FILE
        if not file.is_file():
            if folder.is_dir() and any(not _is_own(p) for p in folder.iterdir()):
                raise IntegrityError(f"{folder} is no fgembed index: it has no {MANIFEST_FILE}")
            raise NotFoundError(f'no index at {folder}; make one with "fgembed index build"')
        content = read_json(file, "index file")
        if content.pop("model_type", None) != MODEL_TYPE:
            raise IntegrityError(f"{folder} is no fgembed index: {MANIFEST_FILE} is another's")
        version = content.pop("format", None)
        if version != INDEX_FORMAT:
            raise IntegrityError(
                f"{folder} is an index of format {version!r}, this fgembed reads {INDEX_FORMAT}; "
                'build it again with "fgembed index build"'
            )
        return cls._parse(content, file)

    @classmethod
    def _parse(cls, content: dict[str, Any], file: Path) -> Self:
        try:
            manifest = record(cls, content)
            if min((segment.count for segment in manifest.segments), default=0) < 1:
                raise ValueError("it names no vectors")
            if sum(segment.count for segment in manifest.segments) != manifest.count:
                raise ValueError("the segments' counts do not add up")
        except ValueError as error:
            raise IntegrityError(f"index file {file} is damaged: {error}") from None
        return manifest

    def check(self, folder: Path) -> None:
        """Proves the checksum of every segment's files, which FAISS itself does not.

        Raises:
            IntegrityError: a file is missing or damaged, or has no checksum.
        """
        for segment in self.segments:
            for name in (VECTORS_FILE, ITEMS_FILE):
                if f"{segment.name}/{name}" not in segment.files:
                    raise IntegrityError(f"index {folder} is damaged: no checksum of {name}")
            check_files(folder, segment.files, "index")

    def write(self, folder: Path) -> None:
        """Publishes the index: until this returns, readers see the earlier one."""
        content = {"model_type": MODEL_TYPE, "format": INDEX_FORMAT} | asdict(self)
        write_json(folder / MANIFEST_FILE, content)


def _is_own(path: Path) -> bool:
    return any(path.match(name) for name in OWN_NAMES)
