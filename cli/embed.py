"""`fgembed embed`."""

import sys
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
from fgembed.errors import ConfigError
from fgembed.workspace import BUNDLE, EMBEDDINGS

app = typer.Typer(add_completion=False)


@app.command()
def embed(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders, .tar shards, manifests or lists; - reads stdin."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of embeddings; gone on with.")] = EMBEDDINGS,
    bundle: BundleOption = BUNDLE,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Do the I-th of N shares, beside N - 1 others.")
    ] = "1/1",
    part_size: Annotated[int, typer.Option(min=1, help="Pictures in a part.")] = 1000,
    max_bad: MaxBadOption = 0.5,
    precision: PrecisionOption = Precision.fp32,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed pictures into .npy files with Parquet metadata, as clip-retrieval and autofaiss read.

    IMAGES are folders, uncompressed .tar files, a .csv, .tsv or .parquet manifest with a column
    image_path, path or filename (its other columns are kept), or a list with a path a line, as a
    .txt file or on standard input (-). The pictures of fgembed.toml if not given.

    Killed, it is run again and goes on; run twice, it does nothing. A picture's id is its place in
    the listing, whatever cannot be read. Needs the extra "scale".

    Example: fgembed embed photos/ --out embeddings
    """
    from fgembed.bundle import Bundle
    from fgembed.cli.progress import ImageProgress
    from fgembed.embedding.shards import embed_into
    from fgembed.images.batches import check_bad
    from fgembed.images.sources import list_images
    from fgembed.text import showable
    from fgembed.workspace import workspace_images

    share = _share(shard)
    listing = list_images(images or [workspace_images()], sys.stdin)
    opened = Bundle.open(bundle, precision.value)
    with ImageProgress("embedding") as progress:
        done = embed_into(
            out,
            listing,
            opened,
            share=share,
            part_size=part_size,
            device=placed(device, provider),
            report=progress.report,
        )
    skipped = listing.skipped + done.skipped
    if as_json:
        import json

        facts = {
            "parts": done.plan.parts,
            "written": done.parts_written,
            "found": done.existing_parts,
        }
        facts |= {"embedded": done.images, "skipped": len(skipped)}
        print(json.dumps({"out": str(out), "dimensions": done.plan.dimensions} | facts))
    else:
        print(
            f"{showable(str(out))}: {done.images} pictures embedded in {done.parts_written} "
            f"parts of {done.plan.parts}, {done.plan.dimensions} dimensions"
            + (f"; {done.existing_parts} parts were there already" if done.existing_parts else "")
        )
        for bad in skipped[:1]:
            print(f"{len(skipped)} left out; the first:")
            print(showable(f"  {bad.path}: {bad.reason}"))
    check_bad(skipped, done.share + len(listing.skipped), max_bad)


def _share(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    if first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise ConfigError(f"--shard {text!r} is not I/N with I from 1 to N, such as 1/4")
