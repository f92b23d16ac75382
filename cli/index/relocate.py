"""`fgembed index relocate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.cli.index.options import IndexOption
from fgembed.cli.options import JsonOption
from fgembed.workspace import INDEX

if TYPE_CHECKING:
    from fgembed.index.changes.relocate import Relocation


def relocate(
    old: Annotated[Path, typer.Argument(readable=False, help="The folder as the index names it.")],
    new: Annotated[Path, typer.Argument(help="Where this folder is now.")],
    index: IndexOption = INDEX,
    checksums: Annotated[
        bool, typer.Option("--checksums", help="Compare every file by content, not only a sample.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell an index where a folder of its images is now.

    Ids, vectors and metadata stay, and nothing is embedded. Sizes are compared, and the content of
    100 files. An image that the index has at both places becomes one.

    Example: fgembed index relocate /old/photos /new/photos
    """
    from fgembed.cli.progress import StageProgress
    from fgembed.index.changes.relocate import plan_relocation
    from fgembed.index.changes.relocate import relocate as relocate_images
    from fgembed.index.search.snapshot import open_vectors

    with StageProgress() as progress:
        if dry_run:
            plan = plan_relocation(
                open_vectors(index), old, new, checksums=checksums, report=progress.stage
            )
        else:
            _, plan = relocate_images(index, old, new, checksums=checksums, report=progress.stage)
    if as_json:
        print(json.dumps({"index": str(index), "dry_run": dry_run} | _facts(plan)))
        return
    _print(plan, new, dry_run)


def _facts(plan: "Relocation") -> dict[str, int]:
    return {
        "images": len(plan.paths),
        "found": plan.found,
        "compared": plan.compared,
        "differ": len(plan.differ),
        "twice": len(plan.twice),
    }


def _print(plan: "Relocation", new: Path, dry_run: bool) -> None:
    from fgembed.text import showable

    count = len(plan.paths)
    done = f"{count} images would be relocated" if dry_run else f"{count} images relocated"
    print(f"{done}, {plan.found} of them are there; {plan.compared} compared by content")
    if plan.twice:
        print(f"{len(plan.twice)} that the index had at both places are one now")
    if plan.differ:
        print(showable(f"{len(plan.differ)} have other content, {plan.differ[0]} for one"))
    if plan.differ or plan.found < count:
        print(showable(f'next: "fgembed index add --sync {new}"'))
