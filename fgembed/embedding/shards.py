"""Embeddings on disk in parts, as clip-retrieval and autofaiss read them; resumable.

- `embed.json`: what is embedded, in how many parts, by which model: the same for every process
- `img_emb/img_emb_0000.npy`: float32 (N, D), a row for each picture that could be read
- `metadata/metadata_0000.parquet`: `id`, `image_path` and a manifest's columns, row by row
- `skipped/skipped_0000.jsonl`: what could not be read, where there is such

A part is written whole, its metadata last. A process that is killed loses the part it was at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.disk.files import absolute, atomic_write, digest
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.embedding.shard_plan import Part, Plan, agree
from fgembed.errors import MissingExtraError
from fgembed.images.batches import write_skipped
from fgembed.images.finding import Skipped
from fgembed.images.sources import Listing
from fgembed.progress import ReportCount, silent

PART_SIZE = 1000


@dataclass(frozen=True)
class EmbedReport:
    """What one process did.

    Attributes:
        plan: what the folder is to hold.
        parts_written: by this process.
        existing_parts: of its share, that were there already.
        pictures: embedded by this process.
        share: how many pictures are this process's, those that were found there too.
        skipped: of its share, what could not be read now or before.
    """

    plan: Plan
    parts_written: int
    existing_parts: int
    pictures: int
    share: int
    skipped: list[Skipped]


def embed_into(
    folder: Path,
    listing: Listing,
    bundle: Bundle,
    *,
    share: tuple[int, int] = (1, 1),
    part_size: int = PART_SIZE,
    device: str = "auto",
    report: ReportCount = silent,
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
        len(listing.images),
        digest([str(picture) for picture in listing.images]),
        bundle.config.fingerprint,
        bundle.precision,
        bundle.config.files[MODEL_FILES[bundle.precision]],
        bundle.config.dimensions,
        part_size,
    )
    agree(folder, plan)
    own = range(share[0] - 1, plan.parts, share[1])
    missing = [number for number in own if not Part.of(folder, plan, number).is_whole()]
    total = sum(len(plan.rows(number)) for number in missing)
    embedder = OnnxEmbedder.of(bundle, device, bulk=True) if missing else None
    found = [number for number in own if number not in set(missing)]
    before = [bad for number in found for bad in Part.of(folder, plan, number).read_skipped()]
    done, skipped = 0, list[Skipped]()
    for number in missing:
        assert embedder is not None
        numbers, part = plan.rows(number), Part.of(folder, plan, number)
        rows = embedder.embed(
            listing.images[numbers.start : numbers.stop],
            partial(_report_after, done, total, report),
        )
        part.skipped.unlink(missing_ok=True)
        if rows.skipped:
            write_skipped(part.skipped, rows.skipped)
        ids = [numbers.start + place for place in rows.places]
        _write(part, listing, ids, rows.vectors.reshape(len(ids), plan.dimensions))
        skipped += rows.skipped
        done += len(numbers)
        report(done, total)
    embedded = done - len(skipped)
    of_share = sum(len(plan.rows(number)) for number in own)
    return EmbedReport(plan, len(missing), len(found), embedded, of_share, before + skipped)


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
        "image_path": [str(absolute(str(listing.images[number]))) for number in ids],
    }
    for name, values in listing.columns.items():
        while name in columns or (name in listing.columns and name in ("id", "image_path")):
            name = f"given_{name}"
        columns[name] = [values[i] for i in ids]
    types = {"id": pyarrow.int64(), "image_path": pyarrow.string()}
    table = pyarrow.table(
        {name: pyarrow.array(values, types.get(name)) for name, values in columns.items()}
    )
    with atomic_write(part.vectors) as file:
        np.save(file, vectors)
    with atomic_write(part.metadata) as file:
        pyarrow.parquet.write_table(table, file)


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtraError("embedding into shards", "pyarrow", "scale") from None
