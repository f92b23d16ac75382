"""Embeddings on disk in parts, as clip-retrieval and autofaiss read them; resumable.

- `embed.json`: what is embedded, in how many parts, by which model: the same for every process
- `img_emb/img_emb_0000.npy`: float32 (N, D), a row for each image that could be read
- `metadata/metadata_0000.parquet`: `id`, `image_path` and a manifest's columns, row by row; in its
  schema a digest of the files' sizes and times, so that a part is embedded again if one has changed
- `skipped/skipped_0000.jsonl`: the images that could not be read, if there are any
- `checksums/part_0000.json`: the SHA-256 of these files; it is written last
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgembed.bundle import Bundle
from fgembed.disk.file_state import state_or_none
from fgembed.disk.files import absolute, atomic_write, digest
from fgembed.disk.parquet import arrow_array, require_pyarrow
from fgembed.embedding.part_checksums import check_part, write_checksums
from fgembed.embedding.resumable import Part, ResumableEmbedding
from fgembed.embedding.shard_plan import Plan
from fgembed.embedding.share_lock import claimed_share
from fgembed.errors import IntegrityError
from fgembed.images.skipped import Skipped
from fgembed.images.sources import Listing
from fgembed.progress import ReportCount, silent

PART_SIZE = 1000
FILES_KEY = b"fgembed.files"  # in a record's schema: in which state its images were embedded


@dataclass(frozen=True)
class EmbedReport:
    """What one process did.

    Attributes:
        plan: what the folder is to hold.
        parts_written: by this process.
        existing_parts: of its share, complete before it started.
        images: embedded by this process.
        share: how many images are this process's, those of existing parts included.
        skipped: images of its share that could not be read, by this process or an earlier one.
    """

    plan: Plan
    parts_written: int
    existing_parts: int
    images: int
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
    """Embeds the images of a listing into `folder`, continuing where an earlier call ended.

    Args:
        folder: new, empty, or of the same images and the same model.
        listing: the images; the position of each is its id.
        bundle: the exported model.
        share: `(i, n)` takes every n-th part, from the i-th; the n processes may run anywhere
            that sees the folder.
        part_size: images in a part.
        device: `auto`, `cpu`, `cuda`, or an ONNX Runtime execution provider by its name.
        report: takes how many of this process's images are done, of how many.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InUseError: another process writes some of these parts.
        FgembedError: the folder holds something else, or is of other images.
        IntegrityError: the folder is of another model, or its plan is damaged.
    """
    require_pyarrow("embedding")
    with claimed_share(folder, Plan.of(listing, bundle, part_size), share) as plan:
        parts = [plan.part(folder, number) for number in range(share[0] - 1, plan.parts, share[1])]
        records = _Metadata(folder, listing, plan)
        embedding = ResumableEmbedding(bundle, listing.images, records, device)
        missing = embedding.missing(parts)
        embedding.embed(missing, report)
        new_images = sum(len(part.positions) - len(part.read_skipped()) for part in missing)
        return EmbedReport(
            plan=plan,
            parts_written=len(missing),
            existing_parts=len(parts) - len(missing),
            images=new_images,
            share=sum(len(part.positions) for part in parts),
            skipped=[bad for part in parts for bad in part.read_skipped()],
        )


class _Metadata:
    """Records as Parquet files: ids, paths, and the columns of a manifest."""

    def __init__(self, folder: Path, listing: Listing, plan: Plan) -> None:
        self.folder = folder
        self.listing = listing
        self.plan = plan
        self.files = ""

    def begin(self, part: Part) -> None:
        self.files = self._digest_of_files(part)

    def row(self, position: int) -> int:
        return position

    def write(self, part: Part, rows: Sequence[int]) -> None:
        import pyarrow
        import pyarrow.parquet

        types = {"id": pyarrow.int64(), "image_path": pyarrow.string()}
        columns = self._columns(rows)
        table = pyarrow.table(
            {name: arrow_array(values, types.get(name)) for name, values in columns.items()}
        ).replace_schema_metadata({FILES_KEY: self.files})
        with atomic_write(part.record) as file:
            pyarrow.parquet.write_table(table, file)
        if self.plan.sealed:
            write_checksums(self.folder, self.plan, part)

    def count(self, part: Part) -> int:
        import pyarrow
        import pyarrow.parquet

        try:
            if self.plan.sealed:
                check_part(self.folder, self.plan, part.positions.start // self.plan.part_size)
            metadata = pyarrow.parquet.read_metadata(part.record)
        except (pyarrow.ArrowException, IntegrityError) as error:
            raise ValueError(str(error)) from None
        files = (metadata.metadata or {}).get(FILES_KEY)  # an earlier release wrote none
        if files is not None and files.decode() != self._digest_of_files(part):
            raise ValueError("its images have changed since")
        return int(metadata.num_rows)

    def _digest_of_files(self, part: Part) -> str:
        """Of the sizes and times of a part's image files; that of a tar file for its members."""
        states = []
        for position in part.positions:
            image = self.listing.images[position]
            state = state_or_none(image if isinstance(image, Path) else image.tar)
            states.append(None if state is None else [state.size, state.mtime_ns, state.ctime_ns])
        return digest(states)

    def _columns(self, ids: Sequence[int]) -> dict[str, list[Any]]:
        images, manifest = self.listing.images, self.listing.columns
        columns: dict[str, list[Any]] = {
            "id": list(ids),
            "image_path": [str(absolute(str(images[number]))) for number in ids],
        }
        for name, values in manifest.items():
            while name in columns or (name in manifest and name in ("id", "image_path")):
                name = f"given_{name}"
            columns[name] = [values[i] for i in ids]
        return columns
