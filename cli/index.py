"""`fgembed index`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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

app = typer.Typer(no_args_is_help=True, add_completion=False)


class Kind(StrEnum):
    """Kinds of index."""

    flat = "flat"
    ivf = "ivf"


@app.callback()
def index() -> None:
    """Make and keep the index that `fgembed search` looks things up in."""


@app.command()
def build(
    images: Annotated[
        Path | None, typer.Argument(help="Folder of pictures; those of fgembed.toml.")
    ] = None,
    bundle: BundleOption = BUNDLE,
    out: Annotated[Path, typer.Option(help="The index folder; an older index is replaced.")] = (
        INDEX
    ),
    kind: Annotated[
        Kind, typer.Option(help="flat compares every vector; ivf visits the nearest lists.")
    ] = Kind.flat,
    max_bad: MaxBadOption = 0.5,
    precision: PrecisionOption = Precision.fp32,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed a folder of pictures with a bundle and write the index.

    Unreadable pictures are left out, counted, and listed in skipped.jsonl.

    Example: fgembed index build photos/ --out gallery.index
    """
    from fgembed.bundle import Bundle
    from fgembed.cli.progress import PictureProgress
    from fgembed.index.build import build_index
    from fgembed.index.manifest import SKIPPED_FILE
    from fgembed.text import showable
    from fgembed.workspace import workspace_images

    folder = images if images is not None else workspace_images()
    opened = Bundle.open(bundle, precision.value, every_file=True)
    with PictureProgress("embedding") as progress:
        report = build_index(
            folder,
            opened,
            out,
            kind=kind.value,
            max_bad=max_bad,
            device=placed(device, provider),
            report=progress.report,
        )
    manifest = report.manifest
    if as_json:
        import json

        facts = {"count": manifest.count, "kind": manifest.kind, "skipped": len(report.skipped)}
        print(json.dumps({"index": str(out)} | facts | {"recall@10": manifest.recall_at_10}))
        return
    print(
        f"{showable(str(out))}: {manifest.count} pictures, {manifest.dimensions} dimensions, "
        f"{manifest.kind}"
        + "".join(f", {name} {value}" for name, value in manifest.parameters.items())
        + f", recall@10 {manifest.recall_at_10:.3f} of exact search"
    )
    if report.skipped:
        listed = showable(str(out / SKIPPED_FILE))
        print(f"{len(report.skipped)} left out, listed in {listed}; the first:")
        print(showable(f"  {report.skipped[0].path}: {report.skipped[0].reason}"))
    print('next: "fgembed search query.jpg"')
