"""What a folder of embeddings is of, and where each part of it lies."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fgembed.disk.files import read_json, refuse_foreign, write_json
from fgembed.disk.json_records import record
from fgembed.errors import FgembedError, IntegrityError
from fgembed.images.finding import Skipped

MODEL_TYPE = "fgembed-embeddings"
FORMAT = 2
PLAN_FILE = "embed.json"
OWN_NAMES = (PLAN_FILE, "img_emb", "metadata", "skipped", f".{PLAN_FILE}.tmp-*")


@dataclass(frozen=True)
class Plan:
    """What a folder of embeddings is of; every process that writes into it has the same.

    Attributes:
        pictures: how many, readable or not.
        listing: digest of their names, in order.
        bundle_fingerprint: of the weights and the preprocessing.
        precision: of the bundle's model.
        model: SHA-256 of that file.
        dimensions: D of a vector.
        part_size: pictures in a part.
    """

    pictures: int
    listing: str
    bundle_fingerprint: str
    precision: str
    model: str
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

    def read_skipped(self) -> list[Skipped]:
        """What an earlier process could not read of it."""
        try:
            lines = self.skipped.read_text(encoding="utf-8").splitlines()
            listed = [json.loads(line) for line in lines]
            return [Skipped(Path(one["path"]), one["reason"]) for one in listed]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{self.skipped} is damaged: {error}", "remove it") from None

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


def agree(folder: Path, plan: Plan) -> None:
    """Writes the plan, or finds the same one there.

    Raises:
        FgembedError: the folder holds something else, or is of other pictures.
        IntegrityError: the folder is of another model, or its plan is damaged.
    """
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
            f"{folder} holds embeddings of another model", "embed into another folder"
        )
    if there.precision != plan.precision:
        raise IntegrityError(
            f"{folder} holds embeddings of an {there.precision} model, this is {plan.precision}",
            f"give --precision {there.precision}, or embed into another folder",
        )
    if there.model != plan.model:
        raise IntegrityError(
            f"{folder} holds embeddings of another export of this model, whose vectors may differ",
            "embed into another folder",
        )
    if there.part_size != plan.part_size:
        raise FgembedError(
            f"{folder} was begun in parts of {there.part_size} pictures, not {plan.part_size}",
            f"give --part-size {there.part_size}",
        )
    if there != plan:
        raise FgembedError(
            f"{folder} holds embeddings of {there.pictures} pictures, these {plan.pictures} are "
            "not the same or in another order",
            "embed into another folder",
        )
