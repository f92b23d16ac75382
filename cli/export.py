"""`fgembed export`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fgembed.cli.options import JsonOption
from fgembed.errors import ConfigError
from fgembed.workspace import BUNDLE

app = typer.Typer(add_completion=False)


@app.command()
def export(
    run: Annotated[str | None, typer.Argument(help="A run's name or folder; the latest.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX, the one format so far.")] = True,
    out: Annotated[Path, typer.Option(help="The bundle's folder; an older bundle is replaced.")] = (
        BUNDLE
    ),
    images: Annotated[
        Path | None, typer.Option(help="Pictures to prove parity on; the run's own if not given.")
    ] = None,
    start: Annotated[
        bool, typer.Option("--start", help="Export the run's calibrated start in its place.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Export even a run that is below its floor.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a run as a bundle: an ONNX file that is proved equal to the trained encoder.

    Nothing is written unless ONNX Runtime and torch agree on real pictures at batch 1, 2, 7
    and 32, in the vectors and in the order of the neighbours. A run that finds less than its
    start, calibrated, is refused: export that by --start, or the run all the same by --force.

    Example: fgembed export --onnx --out bundle
    """
    from fgembed.cli.training import require_torch

    if start and force:
        raise ConfigError("--start exports the start and --force the run; give one of them")
    require_torch()
    from fgembed.export.write_bundle import export_bundle
    from fgembed.workspace import find_run

    exported = export_bundle(find_run(run), out, images, start=start, force=force)
    parity = exported.parity
    if as_json:
        import json

        said = {"bundle": str(out), "guard": asdict(exported.verdict)}
        print(json.dumps(said | exported.config.to_json() | parity.to_json()))
        return
    config = exported.config
    print(f"{out}: {config.backbone}, {config.method}, {config.dimensions} dimensions")
    print(
        f"parity with torch on {parity.images} pictures: cosine >= {parity.min_cosine:.7f}, "
        f"same nearest neighbour {parity.top1_agreement:.1%}, top-10 overlap "
        f"{parity.top10_agreement:.1%}"
    )
    print(f"guard: {exported.verdict.headline()}")
    print('next: "fgembed index build"')
