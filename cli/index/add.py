"""`fgembed index add`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.cli.index.options import BundleElsewhere, IndexOption
from fgembed.cli.index.plan import print_plan
from fgembed.cli.index.summary import print_report
from fgembed.cli.options import (
    ClutterOption,
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
    gone: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="With --sync: remove the missing images of this folder, however many.",
        ),
    ] = None,
    checksums: Annotated[
        bool,
        typer.Option("--checksums", help="Read every file, whatever its size and times say."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")
    ] = False,
    from_embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Instead of IMAGES: .npy files, as for `fgembed index build`."
        ),
    ] = None,
    bundle: BundleElsewhere = None,
    include_clutter: ClutterOption = False,
    max_bad: MaxBadOption = 0.5,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add images to an index, and replace those whose file has changed.

    Unchanged images are not embedded again. A replaced image gets a new id. An image that was moved
    or renamed is known by its content and keeps its id.

    --sync removes images whose file is gone. It keeps those of a folder that is missing or empty,
    or has lost most of its images at once: a disk may not be mounted. --gone removes them.

    Example: fgembed index add new/

    Example: fgembed index add --sync photos/ --dry-run

    Example: fgembed index add --sync photos/ --gone photos/2019

    Example: fgembed index add --from-embeddings embeddings/
    """
    from fgembed.cli.progress import StageProgress
    from fgembed.disk.spelling import on_disk
    from fgembed.index.changes.add import add_images
    from fgembed.index.changes.plan import AddPlan, Sync
    from fgembed.index.format.manifest import Manifest
    from fgembed.index.format.model_binding import find_bundle

    sync = None if sync is None else on_disk(sync)
    sources = [source for source in (images, sync, from_embeddings) if source is not None]
    if len(sources) != 1:
        raise ConfigError(
            f"{len(sources)} sources of images, expected one",
            "give IMAGES, --sync DIR or --from-embeddings DIR",
        )
    _check(sync, gone or [], from_embeddings, checksums or dry_run)
    if from_embeddings is not None:
        print_report(_add_embeddings(index, from_embeddings, bundle), index, as_json)
        return
    sync_request = None if sync is None else Sync(gone or [])
    if dry_run:
        from fgembed.index.search.snapshot import open_vectors

        with StageProgress() as progress:
            plan = AddPlan.of(
                open_vectors(index), sources[0], sync=sync_request, checksums=checksums,
                include_clutter=include_clutter, report=progress.stage,
            )  # fmt: skip
        print_plan(plan, index, as_json)
        return
    opened = find_bundle(index, Manifest.read(index), bundle)
    opened.check()
    with StageProgress() as progress:
        report = add_images(
            index,
            sources[0],
            opened,
            sync=sync_request,
            checksums=checksums,
            include_clutter=include_clutter,
            max_bad=max_bad,
            device=device_name(device, provider),
            report=progress.stage,
        )
    print_report(report, index, as_json)


def _check(
    sync: Path | None, gone: list[Path], from_embeddings: Path | None, of_images: bool
) -> None:
    if sync is not None and not sync.is_dir():
        raise ConfigError(
            f"--sync {str(sync)!r} is no folder",
            "mount its disk, or if the images were moved, give the folder where they are now",
        )
    if gone and sync is None:
        raise ConfigError("--gone needs --sync", "give --sync DIR, the folder that holds it")
    if of_images and from_embeddings is not None:
        raise ConfigError(
            "--checksums and --dry-run exclude --from-embeddings", "leave them out, or give IMAGES"
        )


def _add_embeddings(index: Path, source: Path, bundle: Path | None) -> "ChangeReport":
    from fgembed.bundle import Bundle
    from fgembed.cli.progress import StageProgress
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.changes.from_embeddings import add_embeddings

    model = None if bundle is None else Bundle.open(bundle)
    with StageProgress() as progress:
        return add_embeddings(index, ImportedEmbeddings.open(source), model, report=progress.stage)
