"""`fgembed embed`."""

from pathlib import Path
from typing import Annotated

import typer

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
from fgembed.errors import ConfigError
from fgembed.workspace import BUNDLE, EMBEDDINGS

app = typer.Typer(add_completion=False)


@app.command()
def embed(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders, .tar shards, manifests or lists; - is stdin."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of embeddings; continued if it exists.")
    ] = EMBEDDINGS,
    bundle: BundleOption = BUNDLE,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Embed the I-th of N shares; N processes embed all.")
    ] = "1/1",
    part_size: Annotated[int, typer.Option(min=1, help="Images per part.")] = 1000,
    include_clutter: ClutterOption = False,
    max_bad: MaxBadOption = 0.5,
    precision: PrecisionOption = Precision.fp32,
    device: DeviceOption = Device.auto,
    provider: ProviderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Embed images into .npy files with Parquet metadata, as clip-retrieval and autofaiss read.

    IMAGES are folders, uncompressed .tar files, a .csv, .tsv or .parquet manifest with a column
    image_path, path or filename (its other columns are kept), or a list of one path per line, as a
    .txt file or on standard input (-). They default to the images of fgembed.toml.

    After a kill, run the command again: it continues; run twice, it does nothing. Images that have
    changed since are embedded again, with their part. The id of an image is its position in the
    listing, unreadable images included. Needs the extra "scale".

    Example: fgembed embed photos/ --out embeddings
    """
    from fgembed.bundle import Bundle
    from fgembed.cli.process.streams import input_lines
    from fgembed.cli.progress import ImageProgress
    from fgembed.embedding.shards import embed_into
    from fgembed.images.skipped import check_bad
    from fgembed.images.sources import list_images
    from fgembed.text import showable
    from fgembed.workspace import workspace_images, workspace_includes_clutter

    share = _share(shard)
    if not images:
        images = [workspace_images()]
        include_clutter = include_clutter or workspace_includes_clutter()
    listing = list_images(images, input_lines(), include_clutter=include_clutter)
    opened = Bundle.open(bundle, precision.value)
    with ImageProgress("embedding") as progress:
        result = embed_into(
            out,
            listing,
            opened,
            share=share,
            part_size=part_size,
            device=device_name(device, provider),
            report=progress.report,
        )
    skipped = listing.skipped + result.skipped
    if as_json:
        import json

        facts = {
            "parts": result.plan.parts,
            "written": result.parts_written,
            "found": result.existing_parts,
        }
        facts |= {"embedded": result.images} | left_out_counts(skipped, listing.passed_over)
        print(json.dumps({"out": str(out), "dimensions": result.plan.dimensions} | facts))
    else:
        print(
            f"{showable(str(out))}: {result.images} images embedded in {result.parts_written} "
            f"parts of {result.plan.parts}, {result.plan.dimensions} dimensions"
            + (f"; {result.existing_parts} parts existed" if result.existing_parts else "")
        )
        print_left_out(skipped, listing.passed_over)
    check_bad(skipped, result.share + len(listing.skipped), max_bad)


def _share(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    if first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise ConfigError(f"--shard {text!r} is not I/N with I from 1 to N", "give a share such as 1/4")
