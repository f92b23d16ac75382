"""The checksums of a part of embeddings: a file beside each part, written last.

`checksums/part_0000.json` names the part's number, the plan that it belongs to, and the SHA-256 of
its vectors, its metadata and its list of skipped images. So a damaged file is refused, and so is a
sound one of another part or of other embeddings.
"""

from pathlib import Path
from typing import Any

from fgembed.disk.files import check_files, sha256
from fgembed.disk.sealed_files import read_sealed_json, write_sealed_json
from fgembed.embedding.resumable import Part
from fgembed.embedding.shard_plan import CHECKSUMS_FOLDER, FORMAT, MODEL_TYPE, PLAN_FILE, Plan
from fgembed.errors import IntegrityError

CHECKSUMS_FORMAT = 1
COMMAND = "fgembed embed"


def checksum_file(folder: Path, plan: Plan, number: int) -> Path:
    """Where the checksums of a part stand."""
    name = plan.part(folder, number).vectors.stem.removeprefix("img_emb_")
    return folder / CHECKSUMS_FOLDER / f"part_{name}.json"


def write_checksums(folder: Path, plan: Plan, part: Part) -> None:
    """Writes the checksums of a part whose files are on disk: it is now complete."""
    number = part.positions.start // plan.part_size
    files = [part.vectors, part.record, *([part.skipped] if part.skipped.exists() else [])]
    checksums = {file.relative_to(folder).as_posix(): sha256(file) for file in files}
    content = {
        "format": CHECKSUMS_FORMAT, "part": number, "plan": plan.digest(), "files": checksums,
    }  # fmt: skip
    write_sealed_json(checksum_file(folder, plan, number), content)


def check_part(folder: Path, plan: Plan, number: int) -> None:
    """Compares every file of a part with its checksum.

    Raises:
        FileNotFoundError: the part is not complete.
        IntegrityError: a file is damaged, missing, or of another part.
    """
    file = checksum_file(folder, plan, number)
    content = read_sealed_json(file, "checksums", {CHECKSUMS_FORMAT}, COMMAND)
    part = plan.part(folder, number)
    names = {path.relative_to(folder).as_posix() for path in (part.vectors, part.record)}
    if part.skipped.exists():
        names.add(part.skipped.relative_to(folder).as_posix())
    described = [content.get(key) for key in ("format", "part", "plan")]
    files = content.get("files")
    if described != [CHECKSUMS_FORMAT, number, plan.digest()] or not isinstance(files, dict):
        raise IntegrityError(
            f"{file} is not of part {number} of these embeddings",
            f'restore it from a copy, or remove it and run "{COMMAND}" again',
        )
    check_files(folder, {name: "" for name in names - files.keys()} | files, "embeddings", COMMAND)


def plan_content(folder: Path) -> dict[str, Any] | None:
    """The content of `embed.json`; None where another tool wrote the embeddings.

    Raises:
        IntegrityError: it is damaged.
    """
    file = folder / PLAN_FILE
    content = read_sealed_json(file, "plan of embeddings", {FORMAT}) if file.is_file() else {}
    return content if content.get("model_type") == MODEL_TYPE else None


def check_embeddings(folder: Path) -> None:
    """Compares every file that `fgembed embed` wrote with its checksum.

    Other tools, and the first formats of `fgembed embed`, write no checksums.

    Raises:
        IntegrityError: a file is damaged, missing, or of another part, or a part is not complete.
    """
    content = plan_content(folder)
    if content is not None and content.get("format") == FORMAT:
        _check_parts(folder, Plan.read(folder))
    elif content is None and (folder / CHECKSUMS_FOLDER).is_dir():
        raise IntegrityError(
            f"{folder} has checksums of embeddings, and no {PLAN_FILE} that says whose",
            f"restore {PLAN_FILE} from a copy, or embed into another folder",
        )


def _check_parts(folder: Path, plan: Plan) -> None:
    files = [checksum_file(folder, plan, number) for number in range(plan.parts)]
    complete = sum(file.is_file() for file in files)
    if complete < plan.parts:
        raise IntegrityError(
            f"{folder} has {complete} of its {plan.parts} parts",
            f'run "{COMMAND}" again, which embeds the missing ones',
        )
    for number in range(plan.parts):
        check_part(folder, plan, number)
    parts = [plan.part(folder, number) for number in range(plan.parts)]
    expected = {file for part in parts for file in (part.vectors, part.record)}
    on_disk = {*(folder / "img_emb").glob("*.npy"), *(folder / "metadata").glob("*.parquet")}
    if on_disk - expected:
        raise IntegrityError(
            f"{min(on_disk - expected)} is no part of the embeddings in {folder}",
            "move it to another folder",
        )
