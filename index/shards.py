"""Embeddings on disk in parts, as clip-retrieval and autofaiss read them; resumable.

- `embed.json`: what is embedded, in how many parts, by which model: the same for every process
- `img_emb/img_emb_0000.npy`: float32 (N, D), a row for each picture that could be read
- `metadata/metadata_0000.parquet`: `id`, `image_path` and a manifest's columns, row by row
- `skipped/skipped_0000.jsonl`: what could not be read, where there is such

A part is written whole, its metadata last. A process that is killed loses the part it was at.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.bundle import Bundle
from fgembed.errors import FgembedError, IntegrityError, MissingExtraError
from fgembed.files import atomic_write, digest, read_json, refuse_foreign, write_json
from fgembed.image_batches import write_skipped
from fgembed.images import Skipped
from fgembed.index.onnx_embedder import OnnxEmbedder
from fgembed.metrics import Vectors
from fgembed.pictures import Listing
from fgembed.records import record

MODEL_TYPE = "fgembed-embeddings"
FORMAT = 2
PLAN_FILE = "embed.json"
OWN_NAMES = (PLAN_FILE, "img_emb", "metadata", "skipped", f".{PLAN_FILE}.tmp-*")
PART_SIZE = 1000


@dataclass(frozen=True)
class Plan:
    """What a folder of embeddings is of; every process that writes into it has the same.

    Attributes:
        pictures: how many, readable or not.
        listing: digest of their names, in order.
        bundle_fingerprint: of the weights and the preprocessing.
        precision: of the bundle's model.
        dimensions: D of a vector.
        part_size: pictures in a part.
    """

    pictures: int
    listing: str
    bundle_fingerprint: str
    precision: str
    dimensions: int
    part_size: int

    @property
    def parts(self) -> int:
        """How many parts there will be."""
        return -(-self.pictures // self.part_size)

    def rows(self, part: int) -> range:
        """The ids of a part's pictures."""
        return range(part * self.part_size, min((part + 1) * self.part_size, self.pictures))


@dataclass(frozen=True)
class Part:
    """Where one part is written."""

    vectors: Path
    metadata: Path
    skipped: Path

    @classmethod
    def of(cls, folder: Path, plan: Plan, number: int) -> "Part":
        """The files of a part; zero-padded, so that names sort as numbers do."""
        name = f"{number:0{max(4, len(str(plan.parts - 1)))}}"
        return cls(
            folder / "img_emb" / f"img_emb_{name}.npy",
            folder / "metadata" / f"metadata_{name}.parquet",
            folder / "skipped" / f"skipped_{name}.jsonl",
        )

    def is_whole(self) -> bool:
        """Whether both files are there and agree on the number of rows."""
        import pyarrow
        import pyarrow.parquet

        try:
            rows = pyarrow.parquet.read_metadata(self.metadata).num_rows
            vectors = np.load(self.vectors, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, pyarrow.ArrowException):
            return False
        return bool(len(vectors) == rows)


@dataclass(frozen=True)
class EmbedReport:
    """What one process did.

    Attributes:
        plan: what the folder is to hold.
        parts_written: by this process.
        parts_found: of its share, that were there already.
        pictures: embedded by this process.
        skipped: what this process could not read.
    """

    plan: Plan
    parts_written: int
    parts_found: int
    pictures: int
    skipped: list[Skipped]


def embed_into(
    folder: Path,
    listing: Listing,
    bundle: Bundle,
    *,
    share: tuple[int, int] = (1, 1),
    part_size: int = PART_SIZE,
    device: str = "auto",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> EmbedReport:
    """Embeds the pictures of a listing into `folder`, going on where an earlier call ended.

    Args:
        folder: new, empty, or of the same pictures and the same model.
        listing: the pictures; the place of each is its id.
        bundle: the exported model.
        share: `(i, n)` takes every n-th part, from the i-th; the n processes may run anywhere
            that sees the folder.
        part_size: pictures in a part.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        report: takes how many of this process's pictures are done, of how many.

    Raises:
        MissingExtraError: pyarrow is not installed.
        FgembedError: the folder holds something else, or is of other pictures.
        IntegrityError: the folder is of another model, or its plan is damaged.
    """
    _require_pyarrow()
    plan = Plan(
        len(listing.pictures),
        digest([str(picture) for picture in listing.pictures]),
        bundle.config.fingerprint,
        bundle.precision,
        bundle.config.dimensions,
        part_size,
    )
    _agree(folder, plan)
    own = range(share[0] - 1, plan.parts, share[1])
    missing = [number for number in own if not Part.of(folder, plan, number).is_whole()]
    total = sum(len(plan.rows(number)) for number in missing)
    embedder = OnnxEmbedder.of(bundle, device, bulk=True) if missing else None
    done, skipped = 0, list[Skipped]()
    for number in missing:
        assert embedder is not None
        numbers, part = plan.rows(number), Part.of(folder, plan, number)
        rows = embedder.embed(
            listing.pictures[numbers.start : numbers.stop],
            partial(_report_after, done, total, report),
        )
        if rows.skipped:
            write_skipped(part.skipped, rows.skipped)
        ids = [numbers.start + place for place in rows.places]
        _write(part, listing, ids, rows.vectors.reshape(len(ids), plan.dimensions))
        skipped += rows.skipped
        done += len(numbers)
        report(done, total)
    return EmbedReport(plan, len(missing), len(own) - len(missing), done - len(skipped), skipped)


def _report_after(
    done: int, total: int, report: Callable[[int, int], None], some: int, _: int
) -> None:
    report(done + some, total)


def _write(part: Part, listing: Listing, ids: list[int], vectors: Vectors) -> None:
    """The metadata last: it says that the part is whole."""
    import pyarrow
    import pyarrow.parquet

    columns: dict[str, list[Any]] = {
        "id": ids,
        "image_path": [str(listing.pictures[number]) for number in ids],
    }
    for name, values in listing.columns.items():
        columns[name if name not in columns else f"given_{name}"] = [values[i] for i in ids]
    types = {"id": pyarrow.int64(), "image_path": pyarrow.string()}
    table = pyarrow.table(
        {name: pyarrow.array(values, types.get(name)) for name, values in columns.items()}
    )
    with atomic_write(part.vectors) as file:
        np.save(file, vectors)
    with atomic_write(part.metadata) as file:
        pyarrow.parquet.write_table(table, file)


def _agree(folder: Path, plan: Plan) -> None:
    """Writes the plan, or finds the same one there."""
    refuse_foreign(folder, OWN_NAMES, "a folder of embeddings", (PLAN_FILE, MODEL_TYPE))
    file = folder / PLAN_FILE
    if not file.is_file():
        write_json(file, {"model_type": MODEL_TYPE, "format": FORMAT} | asdict(plan))
    content = read_json(file, "plan of embeddings")
    content.pop("model_type", None)
    version = content.pop("format", None)
    if version != FORMAT:
        raise IntegrityError(f"{folder} is of format {version!r}, this fgembed writes {FORMAT}")
    try:
        there = record(Plan, content)
    except ValueError as error:
        raise IntegrityError(f"{file} is damaged: {error}") from None
    if there.bundle_fingerprint != plan.bundle_fingerprint:
        raise IntegrityError(
            f"{folder} holds embeddings of another model; embed into another folder"
        )
    if there.precision != plan.precision:
        raise IntegrityError(
            f"{folder} holds embeddings of an {there.precision} model, this is {plan.precision}; "
            f"give --precision {there.precision}, or embed into another folder"
        )
    if there.part_size != plan.part_size:
        raise FgembedError(
            f"{folder} was begun in parts of {there.part_size} pictures, not {plan.part_size}; "
            f"give --part-size {there.part_size}"
        )
    if there != plan:
        raise FgembedError(
            f"{folder} holds embeddings of {there.pictures} pictures, these {plan.pictures} are "
            "not the same or in another order; embed into another folder"
        )


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError("embedding into shards", "pyarrow", "scale") from None
