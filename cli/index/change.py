"""`fgembed index add`, `remove` and `compact`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.cli.index.options import MEMORY, IndexOption, index_settings
from fgembed.cli.index.summary import described, facts
from fgembed.cli.options import (
    Device,
    DeviceOption,
    JsonOption,
    MaxBadOption,
    ProviderOption,
    device_name,
)
from fgembed.errors import ConfigError
from fgembed.workspace import INDEX

if TYPE_CHECKING:
    from fgembed.index.changes.transaction import ChangeReport

COMPACT_FROM_SEGMENTS = 8
BundleElsewhere = Annotated[
    Path | None, typer.Option("--bundle", help="The exported model, where it was moved since.")
]


def add(
    images: Annotated[
        Path | None, typer.Argument(help="An image, folder, manifest or list of images.")
    ] = None,
    index: IndexOption = INDEX,
    sync: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead of IMAGES: also remove the images that are no longer in DIR.",
        ),
    ] = None,
    from_embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Instead of IMAGES: .npy files, as for `fgembed index build`."
        ),
    ] = None,
    bundle: BundleElsewhere = None,
    max_bad: MaxBadOption = 0.5,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add images to an index, and replace those whose file has changed.

    Unchanged images are not embedded again. A replaced image gets a new id.

    Example: fgembed index add new/

    Example: fgembed index add --sync photos/

    Example: fgembed index add --from-embeddings embeddings/
    """
    from fgembed.cli.progress import StageProgress
    from fgembed.index.changes.add import add_images
    from fgembed.index.format.manifest import Manifest
    from fgembed.index.format.model_binding import find_bundle

    sources = [source for source in (images, sync, from_embeddings) if source is not None]
    if len(sources) != 1:
        raise ConfigError(
            f"{len(sources)} sources of images, expected one",
            "give IMAGES, --sync DIR or --from-embeddings DIR",
        )
    if sync is not None and not sync.is_dir():
        raise ConfigError(f"--sync {str(sync)!r} is no folder", "give a folder, or IMAGES to add")
    if from_embeddings is not None:
        _print(_add_embeddings(index, from_embeddings, bundle), index, as_json)
        return
    opened = find_bundle(index, Manifest.read(index), bundle)
    opened.check()
    with StageProgress() as progress:
        report = add_images(
            index,
            sources[0],
            opened,
            vanished=sync is not None,
            max_bad=max_bad,
            device=device_name(device, provider),
            report=progress.stage,
        )
    _print(report, index, as_json)


def _add_embeddings(index: Path, source: Path, bundle: Path | None) -> "ChangeReport":
    from fgembed.bundle import Bundle
    from fgembed.cli.progress import StageProgress
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.changes.from_embeddings import add_embeddings

    model = None if bundle is None else Bundle.open(bundle)
    with StageProgress() as progress:
        return add_embeddings(index, ImportedEmbeddings.open(source), model, report=progress.stage)


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
    _print(report, index, as_json)


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
    _print(report, index, as_json, compacted=True)


def _print(report: "ChangeReport", index: Path, as_json: bool, compacted: bool = False) -> None:
    from fgembed.index.format.manifest import SKIPPED_FILE
    from fgembed.text import showable

    manifest = report.manifest
    numbers = {
        "added": report.added,
        "replaced": report.replaced,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "skipped": len(report.skipped),
    }
    if as_json:
        print(json.dumps({"index": str(index)} | numbers | {"state": facts(manifest)}))
        return
    if compacted:
        dropped = f", {report.removed} removed images dropped" if report.removed else ""
        print(f"merged into one segment{dropped}")
    else:
        print(", ".join(f"{n} {name}" for name, n in numbers.items() if n) or "no change")
    print(f"{showable(str(index))}: {described(manifest)}")
    for bad in report.skipped[:1]:
        file = showable(str(index / SKIPPED_FILE))
        print(f"{len(report.skipped)} skipped, listed in {file}; the first:")
        print(showable(f"  {bad.path}: {bad.reason}"))
    dead = manifest.removed.count if manifest.removed else 0
    if len(manifest.segments) > COMPACT_FROM_SEGMENTS or dead > manifest.count:
        print(
            f"segments: {len(manifest.segments)}, removed images in them: {dead}; "
            '"fgembed index compact" makes it smaller and faster'
        )
