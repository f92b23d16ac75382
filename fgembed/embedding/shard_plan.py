"""The plan of a folder of embeddings: what is embedded, by which model, in which parts."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from fgembed.bundle import MODEL_FILES, Bundle
from fgembed.disk.files import digest
from fgembed.disk.foreign import refuse_foreign
from fgembed.disk.json_records import record
from fgembed.disk.sealed_files import read_sealed_json, write_sealed_json
from fgembed.embedding.resumable import Part
from fgembed.errors import FgembedError, IntegrityError
from fgembed.images.sources import Listing

MODEL_TYPE = "fgembed-embeddings"
FORMAT = 3
UNSEALED_FORMAT = 2  # like 3, without any checksum
PLAN_FILE = "embed.json"
CHECKSUMS_FOLDER = "checksums"
UNPLANNED_PATTERNS = (f".{PLAN_FILE}.tmp-*", ".lock*")
ENTRY_PATTERNS = (
    PLAN_FILE,
    "img_emb",
    "metadata",
    "skipped",
    CHECKSUMS_FOLDER,
    *UNPLANNED_PATTERNS,
)
INSIDE = {
    "img_emb": ("img_emb_*.npy", ".img_emb_*.tmp-*"),
    "metadata": ("metadata_*.parquet", ".metadata_*.tmp-*"),
    "skipped": ("skipped_*.jsonl", ".skipped_*.tmp-*"),
    CHECKSUMS_FOLDER: ("part_*.json", ".part_*.tmp-*"),
}
FILE_KEYS = {"images": "pictures"}  # fields with another key in the file


@dataclass(frozen=True)
class Plan:
    """The images and the model of a folder of embeddings, equal for all processes that write it.

    Attributes:
        images: how many, readable or not.
        listing: digest of their names, in order.
        bundle_fingerprint: of the weights and the preprocessing.
        precision: of the bundle's model.
        model: SHA-256 of that file.
        dimensions: D of a vector.
        part_size: images in a part.
        sealed: whether the parts have checksums; those of an earlier fgembed have none.

    Example:
        >>> plan = Plan(
        ...     images=23, listing="", bundle_fingerprint="", precision="fp32", model="",
        ...     dimensions=512, part_size=10,
        ... )
        >>> plan.parts, plan.ids(2)
        (3, range(20, 23))
    """

    images: int
    listing: str
    bundle_fingerprint: str
    precision: str
    model: str
    dimensions: int
    part_size: int
    sealed: bool = field(default=True, compare=False)

    @classmethod
    def of(cls, listing: Listing, bundle: Bundle, part_size: int) -> Self:
        """The plan to embed a listing by a bundle's model."""
        return cls(
            images=len(listing.images),
            listing=digest([str(image) for image in listing.images]),
            bundle_fingerprint=bundle.config.fingerprint,
            precision=bundle.precision,
            model=bundle.config.files[MODEL_FILES[bundle.precision]],
            dimensions=bundle.config.dimensions,
            part_size=part_size,
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The plan of a folder of embeddings.

        Raises:
            IntegrityError: it is damaged, or of another format.
        """
        file = folder / PLAN_FILE
        content = read_sealed_json(file, "plan of embeddings", {FORMAT})
        content.pop("model_type", None)
        version = content.pop("format", None)
        if version not in (FORMAT, UNSEALED_FORMAT):
            raise IntegrityError(
                f"{folder} is of format {version!r}, this fgembed writes {FORMAT}",
                "embed into another folder",
            )
        fields = {key: name for name, key in FILE_KEYS.items()}
        try:
            values = {fields.get(key, key): value for key, value in content.items()}
            plan = record(cls, values | {"sealed": version == FORMAT})
            if plan.part_size < 1:
                raise ValueError(f"parts of {plan.part_size} images")
        except ValueError as error:
            raise IntegrityError(
                f"{file} is damaged: {error}",
                "restore it from a copy, or embed into another folder",
            ) from None
        return plan

    def write(self, folder: Path) -> None:
        """Writes it into a folder of embeddings."""
        content: dict[str, Any] = {"model_type": MODEL_TYPE, "format": FORMAT}
        write_sealed_json(folder / PLAN_FILE, content | self._to_json())

    def digest(self) -> str:
        """The same for equal plans alone."""
        return digest(self._to_json())

    def _to_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["sealed"]  # the format says it
        return {FILE_KEYS.get(name, name): value for name, value in values.items()}

    @property
    def parts(self) -> int:
        """The number of parts."""
        return -(-self.images // self.part_size)

    def ids(self, number: int) -> range:
        """The ids of a part's images, which are their positions in the listing."""
        return range(number * self.part_size, min((number + 1) * self.part_size, self.images))

    def part(self, folder: Path, number: int) -> Part:
        """The files of a part; their numbers are zero-padded, so that names sort as numbers do."""
        name = f"{number:0{max(4, len(str(self.parts - 1)))}}"
        return Part(
            positions=self.ids(number),
            vectors=folder / "img_emb" / f"img_emb_{name}.npy",
            record=folder / "metadata" / f"metadata_{name}.parquet",
            skipped=folder / "skipped" / f"skipped_{name}.jsonl",
        )


def refuse_other_than_embeddings(folder: Path) -> None:
    """Refuses a path that embeddings must not be written into.

    Raises:
        FgembedError: `folder` is a file, or holds something else.
    """
    # The other names are clip-retrieval's, too: without the plan none of them is ours.
    names = ENTRY_PATTERNS if (folder / PLAN_FILE).is_file() else UNPLANNED_PATTERNS
    refuse_foreign(folder, names, "a folder of embeddings", (PLAN_FILE, MODEL_TYPE), INSIDE)


def agree(folder: Path, plan: Plan) -> Plan:
    """Writes the plan, or checks that the folder already has the same one; gives the folder's.

    Raises:
        FgembedError: the folder is of other images.
        IntegrityError: the folder is of another model, or its plan is damaged.
    """
    if not (folder / PLAN_FILE).is_file():
        plan.write(folder)
    existing = Plan.read(folder)
    _refuse_other_model(folder, existing, plan)
    if existing.part_size != plan.part_size:
        raise FgembedError(
            f"{folder} was begun in parts of {existing.part_size} images, not {plan.part_size}",
            f"give --part-size {existing.part_size}",
        )
    if existing != plan:
        raise FgembedError(
            f"{folder} holds embeddings of {existing.images} images, these {plan.images} are "
            "not the same or in another order",
            "embed into another folder",
        )
    return existing


def _refuse_other_model(folder: Path, existing: Plan, plan: Plan) -> None:
    if existing.bundle_fingerprint != plan.bundle_fingerprint:
        raise IntegrityError(
            f"{folder} holds embeddings of another model", "embed into another folder"
        )
    if existing.precision != plan.precision:
        raise IntegrityError(
            f"{folder} holds embeddings of an {existing.precision} model, this is {plan.precision}",
            f"give --precision {existing.precision}, or embed into another folder",
        )
    if existing.model != plan.model:
        raise IntegrityError(
            f"{folder} holds embeddings of another export of this model, whose vectors may differ",
            "embed into another folder",
        )
