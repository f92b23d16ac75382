"""`fgembed index add`, `remove` and `compact`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.cli.index.options import MEMORY, IndexOption, described, facts, index_settings
from fgembed.cli.options import (
    Device,
    DeviceOption,
    JsonOption,
    MaxBadOption,
    ProviderOption,
    placed,
)
from fgembed.errors import ConfigError
from fgembed.workspace import INDEX

if TYPE_CHECKING:
    from fgembed.index.changes.transaction import ChangeReport

MANY_SEGMENTS = 8
BundleElsewhere = Annotated[
    Path | None, typer.Option("--bundle", help="The exported model, where it was moved since.")
]


def add(
    images: Annotated[
        Path | None, typer.Argument(help="A picture, folder, manifest or list of pictures.")
    ] = None,
    index: IndexOption = INDEX,
    sync: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="In place of IMAGES: also remove the pictures that are no longer in DIR.",
        ),
    ] = None,
    from_embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="In place of IMAGES: .npy files, as for `fgembed index build`."
        ),
    ] = None,
    bundle: BundleElsewhere = None,
    max_bad: MaxBadOption = 0.5,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add pictures to an index; those that are in it and have changed are replaced.

    What is in it already and has not changed costs nothing. A replaced picture gets a new id.

    Example: fgembed index add new/

    Example: fgembed index add --sync photos/

    Example: fgembed index add --from-embeddings embeddings/
    """
    from fgembed.cli.progress import StageProgress
    from fgembed.index.changes.add import add_images
    from fgembed.index.format.manifest import Manifest
    from fgembed.index.format.model_binding import find_bundle

    sources = [one for one in (images, sync, from_embeddings) if one is not None]
    if len(sources) != 1:
        raise ConfigError("give one of: pictures to add, --sync DIR, --from-embeddings DIR")
    if sync is not None and not sync.is_dir():
        raise ConfigError(f"--sync {str(sync)!r} is no folder")
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
            device=placed(device, provider),
            report=progress.stage,
        )
    _print(report, index, as_json)


def _add_embeddings(index: Path, source: Path, bundle: Path | None) -> "ChangeReport":
    from fgembed.bundle import Bundle
    from fgembed.cli.progress import StageProgress
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.changes.from_embeddings import add_embeddings

    maker = None if bundle is None else Bundle.open(bundle)
    with StageProgress() as progress:
        return add_embeddings(index, ImportedEmbeddings.open(source), maker, report=progress.stage)


def remove(
    what: Annotated[
        list[str] | None, typer.Argument(help="Pictures or folders; with --id the ids.")
    ] = None,
    index: IndexOption = INDEX,
    by_id: Annotated[bool, typer.Option("--id", help="WHAT are ids.")] = False,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="In place of WHAT: a condition, such as \"label = 'x'\"."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take pictures out of an index; files of pictures are not touched.

    They are no longer found from now on; `compact` gives their space back.

    Example: fgembed index remove photos/old/

    Example: fgembed index remove --where "year < 2015"
    """
    import numpy as np

    from fgembed.index.changes.remove import remove_ids, remove_paths, remove_where

    if (where is None) == (not what):
        raise ConfigError("give either pictures, ids with --id, or --where SQL")
    if where is not None:
        report = remove_where(index, where)
    elif by_id:
        wrong = next((one for one in what or [] if not one.isdecimal() or len(one) > 18), None)
        if wrong is not None:
            raise ConfigError(f"{wrong!r} is no id")
        report = remove_ids(index, np.unique(np.array([int(one) for one in what or []], np.int64)))
    else:
        report = remove_paths(index, [Path(one) for one in what or []])
    _print(report, index, as_json)


def compact(
    index: IndexOption = INDEX,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="What the index becomes, as for `build`.")
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="The recall@10 that searches are tuned to from now on."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="What building and searching may take from now on."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", help="How vectors are kept from now on: float32 or float16."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge what was added, drop what was removed, and tune the search anew.

    Ids stay. No picture is read. The index may become one of another kind.

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
        gone = f"; {report.removed} removed before are gone for good" if report.removed else ""
        print(f"merged into one segment{gone}")
    else:
        print(", ".join(f"{n} {name}" for name, n in numbers.items() if n) or "no change")
    print(f"{showable(str(index))}: {described(manifest)}")
    for bad in report.skipped[:1]:
        print(f"{len(report.skipped)} left out, listed in {index / SKIPPED_FILE}; the first:")
        print(showable(f"  {bad.path}: {bad.reason}"))
    dead = manifest.removed.count if manifest.removed else 0
    if len(manifest.segments) > MANY_SEGMENTS or dead > manifest.count:
        print(
            f"segments: {len(manifest.segments)}, removed pictures in them: {dead}; "
            '"fgembed index compact" makes it smaller and faster'
        )
