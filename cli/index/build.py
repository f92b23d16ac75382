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
    index_settings,
)
from fgembed.cli.index.summary import described, facts, print_repeated
from fgembed.cli.left_out import left_out_counts, print_left_out
from fgembed.cli.options import (
    BundleOption,
    ClutterOption,
    Device,
    DeviceOption,
    JsonOption,
    MaxBadOption,
    Precision,
    PrecisionOption,
    ProviderOption,
    device_name,
)
from fgembed.workspace import BUNDLE, INDEX

if TYPE_CHECKING:
    from fgembed.index.changes.build import BuildReport


def build(
    images: Annotated[
        Path | None,
        typer.Argument(help="Folder, .csv, .tsv or .parquet manifest, or .txt list of images."),
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
        typer.Option(help="Instead of IMAGES: a folder of .npy files, as `embed` writes them."),
    ] = None,
    include_clutter: ClutterOption = False,
    max_bad: MaxBadOption = 0.5,
    precision: PrecisionOption = Precision.fp32,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed images with a bundle and write the index.

    IMAGES default to those of fgembed.toml. The first folder level below IMAGES becomes the column
    `label`; the columns of a manifest become columns of the index. Filter by them with
    `search --where`.

    Unreadable images, and pictures of formats that are not read, are skipped, counted, and listed
    in skipped.jsonl. What systems and programs leave among photographs is passed over.

    After a kill, run the command again: it continues where it stopped. Until it ends, the previous
    index stays in use.

    Example: fgembed index build photos/ --out gallery.index
    """
    from fgembed.bundle import Bundle
    from fgembed.cli.progress import StageProgress
    from fgembed.errors import ConfigError
    from fgembed.index.changes.build import build_index
    from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
    from fgembed.index.changes.from_embeddings import build_from_embeddings
    from fgembed.workspace import workspace_images, workspace_includes_clutter

    settings = index_settings(kind, recall, memory, store)
    if from_embeddings is not None:
        if images is not None:
            raise ConfigError("IMAGES and --from-embeddings exclude each other", "give one of them")
        embeddings = ImportedEmbeddings.open(from_embeddings)
        has_model = embeddings.plan is not None or bundle != BUNDLE
        model = Bundle.open(bundle, precision.value) if has_model else None
        with StageProgress() as progress:
            report = build_from_embeddings(
                embeddings, model, out, settings=settings, report=progress.stage
            )
    else:
        folder = images if images is not None else workspace_images()
        if images is None:
            include_clutter = include_clutter or workspace_includes_clutter()
        opened = Bundle.open(bundle, precision.value, every_file=True)
        with StageProgress() as progress:
            report = build_index(
                folder,
                opened,
                out,
                settings=settings,
                include_clutter=include_clutter,
                max_bad=max_bad,
                device=device_name(device, provider),
                report=progress.stage,
            )
    _print(report, out, as_json)


def _print(report: "BuildReport", out: Path, as_json: bool) -> None:
    from fgembed.index.format.manifest import SKIPPED_FILE
    from fgembed.text import showable

    if as_json:
        left_out = left_out_counts(report.skipped, report.passed_over)
        left_out["repeated"] = len(report.repeated)
        print(json.dumps({"index": str(out)} | facts(report.manifest) | left_out))
        return
    print(f"{showable(str(out))}: {described(report.manifest)}")
    print_repeated(report.repeated)
    print_left_out(report.skipped, report.passed_over, out / SKIPPED_FILE)
    where = "" if out == INDEX else f" --index {out}"
    print(showable(f'next: "fgembed search query.jpg{where}"'))
