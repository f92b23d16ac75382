"""`fgembed index build`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.cli.index.options import (
    MEMORY,
    KindOption,
    MemoryOption,
    RecallOption,
    StoreOption,
    described,
    facts,
    index_settings,
)
from fgembed.cli.options import (
    BundleOption,
    Device,
    DeviceOption,
    JsonOption,
    MaxBadOption,
    Precision,
    PrecisionOption,
    ProviderOption,
    placed,
)
from fgembed.workspace import BUNDLE, INDEX

if TYPE_CHECKING:
    from fgembed.index.changes.build import BuildReport


def build(
    images: Annotated[
        Path | None,
        typer.Argument(help="Folder, .csv, .tsv or .parquet manifest, or .txt list of pictures."),
    ] = None,
    bundle: BundleOption = BUNDLE,
    out: Annotated[Path, typer.Option(help="The index folder; an older index is replaced.")] = (
        INDEX
    ),
    kind: KindOption = "auto",
    recall: RecallOption = 0.95,
    memory: MemoryOption = MEMORY,
    store: StoreOption = None,
    from_embeddings: Annotated[
        Path | None,
        typer.Option(help="In place of IMAGES: a folder of .npy files, as `embed` writes them."),
    ] = None,
    max_bad: MaxBadOption = 0.5,
    precision: PrecisionOption = Precision.fp32,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed pictures with a bundle and write the index.

    The pictures are those of fgembed.toml if not given. Folders on the first level below IMAGES
    become the column `label`; a manifest's columns are kept. `search --where` asks for them.

    Unreadable pictures are left out, counted, and listed in skipped.jsonl. Killed, it is run again
    and goes on with what is not embedded yet; until it is done the earlier index stays in use.

    Example: fgembed index build photos/ --out gallery.index
    """
    from fgembed.bundle import Bundle
    from fgembed.cli.progress import StageProgress
    from fgembed.errors import ConfigError
    from fgembed.index.changes.build import build_index
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.changes.from_embeddings import build_from_embeddings
    from fgembed.workspace import workspace_images

    wanted = index_settings(kind, recall, memory, store)
    if from_embeddings is not None:
        if images is not None:
            raise ConfigError("IMAGES and --from-embeddings", "give one of them")
        given = ImportedEmbeddings.open(from_embeddings)
        known = given.plan is not None or bundle != BUNDLE
        made_by = Bundle.open(bundle, precision.value) if known else None
        with StageProgress() as progress:
            report = build_from_embeddings(
                given, made_by, out, settings=wanted, report=progress.stage
            )
    else:
        folder = images if images is not None else workspace_images()
        opened = Bundle.open(bundle, precision.value, every_file=True)
        with StageProgress() as progress:
            report = build_index(
                folder,
                opened,
                out,
                settings=wanted,
                max_bad=max_bad,
                device=placed(device, provider),
                report=progress.stage,
            )
    _print(report, out, as_json)


def _print(report: "BuildReport", out: Path, as_json: bool) -> None:
    from fgembed.index.format.manifest import SKIPPED_FILE
    from fgembed.text import showable

    if as_json:
        print(
            json.dumps(
                {"index": str(out)} | facts(report.manifest) | {"skipped": len(report.skipped)}
            )
        )
        return
    print(f"{showable(str(out))}: {described(report.manifest)}")
    if report.skipped:
        listed = showable(str(out / SKIPPED_FILE))
        print(f"{len(report.skipped)} left out, listed in {listed}; the first:")
        print(showable(f"  {report.skipped[0].path}: {report.skipped[0].reason}"))
    print('next: "fgembed search query.jpg"')
