"""`fgembed index remove` and `compact`."""

from pathlib import Path
from typing import Annotated

import typer

from fgembed.cli.index.options import MEMORY, IndexOption, index_settings
from fgembed.cli.index.summary import print_report
from fgembed.cli.options import JsonOption
from fgembed.errors import ConfigError
from fgembed.workspace import INDEX


def remove(
    items: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WHAT]...", help="Images or folders; with --id the ids."),
    ] = None,
    index: IndexOption = INDEX,
    by_id: Annotated[bool, typer.Option("--id", help="WHAT are ids.")] = False,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Instead of WHAT: a condition, such as \"label = 'x'\"."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove images from an index; the image files stay.

    Searches no longer find them. `compact` frees their space.

    Example: fgembed index remove photos/old/

    Example: fgembed index remove --where "year < 2015"
    """
    import numpy as np

    from fgembed.disk.text_files import at_home
    from fgembed.index.changes.remove import remove_ids, remove_paths, remove_where

    items = items or []
    if (where is None) == (not items):
        raise ConfigError(
            "nothing to remove" if where is None else "WHAT and --where exclude each other",
            "give images, ids with --id, or --where SQL",
        )
    if where is not None:
        report = remove_where(index, where)
    elif by_id:
        wrong = next((text for text in items if not text.isdecimal() or len(text) > 18), None)
        if wrong is not None:
            raise ConfigError(f"{wrong!r} is no id", "give ids as search --json prints them")
        report = remove_ids(index, np.unique(np.array([int(text) for text in items], np.int64)))
    else:
        report = remove_paths(index, [Path(at_home(text)) for text in items])
    print_report(report, index, as_json)


def compact(
    index: IndexOption = INDEX,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="What the index becomes, as for `build`.")
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="recall@10 to tune searches to from now on."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory for building and searching from now on."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", help="How vectors are stored from now on: float32 or float16."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge all segments into one, drop removed images, and tune the search again.

    Ids stay the same. No image is read. The index can be changed to another kind.

    Example: fgembed index compact --kind ivfpq
    """
    from dataclasses import replace

    from fgembed.cli.progress import StageProgress
    from fgembed.index.changes.compact import compact as compact_index
    from fgembed.index.changes.transaction import settings_of
    from fgembed.index.format.manifest import Manifest

    current = settings_of(Manifest.read(index))
    settings = index_settings(
        kind or current.kind, recall or current.recall_target, memory or MEMORY, store
    )
    if store is None:
        settings = replace(settings, store=current.store)
    if memory is None:
        settings = replace(settings, memory_bytes=current.memory_bytes)
    with StageProgress() as progress:
        report = compact_index(index, settings, progress.stage)
    print_report(report, index, as_json, compacted=True)
