"""`fgembed export`."""

import math
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.cli.options import JsonOption, Precision
from fgembed.errors import ConfigError
from fgembed.text import showable
from fgembed.workspace import BUNDLE

if TYPE_CHECKING:
    from fgembed.export.run_source import Source
    from fgembed.export.write_bundle import Exported


class Layout(StrEnum):
    """The tool that the export is for."""

    bundle = "bundle"
    immich = "immich"
    fastembed = "fastembed"


app = typer.Typer(add_completion=False)


@app.command()
def export(
    run: Annotated[str | None, typer.Argument(help="A run; default: the latest.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX, the only format.")] = True,
    out: Annotated[Path, typer.Option(help="The bundle's folder; replaces an older bundle.")] = (
        BUNDLE
    ),
    images: Annotated[
        Path | None, typer.Option(help="Images to check parity on; default: those of the run.")
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="LIST", help="fp32, and fp16 or int8 or both besides.")
    ] = "fp32",
    max_drop: Annotated[
        float, typer.Option(min=0, max=100, help="Points of recall@1 that int8 may lose.")
    ] = 0.5,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Labelled images for recall@1; default: of the run."),
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="Labelled images to search with.")] = None,
    dynamic_size: Annotated[
        bool, typer.Option("--dynamic-size", help="Let the graph accept square images of any size.")
    ] = False,
    layout: Annotated[
        Layout, typer.Option(help="bundle for fgembed, or the layout of another tool.")
    ] = Layout.bundle,
    start: Annotated[
        bool, typer.Option("--start", help="Export the run's calibrated start instead of the run.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Export a run that is below its floor or not judged.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a run as a bundle: an ONNX file that is checked against the trained encoder.

    Nothing is written unless ONNX Runtime and torch agree on real images at batch 1, 2, 7
    and 32, in the vectors and in the order of the neighbours. A run below its floor, the
    calibrated start, is refused: export the start with --start, or the run with --force. Of a run
    that had no labels the start is exported, unless it was distilled from it.

    int8 is for CPUs, fp16 for GPUs. int8 is calibrated on the images. The most sensitive layers
    stay in float until int8 loses no more than --max-drop points: of recall@1 on labelled images,
    or without labels of the share of images with the same nearest neighbour, which is stricter.

    --layout immich and fastembed write files for those tools instead of a bundle.

    Example: fgembed export --onnx --precision fp32,int8 --out bundle
    """
    from fgembed.cli.extras import require_torch

    if start and force:
        raise ConfigError("--start exports the start and --force the run", "give one of them")
    if (gallery is None) != (queries is None):
        raise ConfigError("--gallery and --queries belong together", "give both, or neither")
    if not math.isfinite(max_drop):
        raise ConfigError(f"--max-drop {max_drop} is no number of points", "give one, such as 0.5")
    precisions = _precisions(precision)
    if layout != Layout.bundle:
        is_default = set(precisions) == {"fp32"} and not dynamic_size and gallery is None
        _refuse_layout(layout, out, is_default)
    require_torch()
    from fgembed.export.run_source import Source
    from fgembed.export.write_bundle import export_bundle
    from fgembed.workspace import find_run

    source = Source.open(find_run(run), start=start, force=force)
    if layout != Layout.bundle:
        _export_layout(layout, source, out, images, as_json)
        return
    exported = export_bundle(
        source,
        out,
        images,
        precisions=precisions,
        max_drop=max_drop,
        dynamic_size=dynamic_size,
        report_stage=lambda text: print(showable(text), file=sys.stderr),
        labelled=(gallery, queries) if gallery and queries else None,
    )
    if as_json:
        import json

        files = {name: file.to_json() for name, file in exported.files.items()}
        report = {"bundle": str(out), "guard": asdict(exported.verdict)}
        report |= exported.config.to_json()
        print(json.dumps(report | {"torch_recall@1": exported.torch_recall, "parity": files}))
        return
    _print(exported)


def _refuse_layout(layout: Layout, out: Path, is_default: bool) -> None:
    if out == BUNDLE:
        raise ConfigError(f"--layout {layout} needs a folder of its own", "give --out DIR")
    if not is_default:
        raise ConfigError(
            f"--layout {layout} is fp32 and of one size",
            "leave out --precision, --dynamic-size, --gallery and --queries",
        )


def _export_layout(
    layout: Layout, source: "Source", out: Path, images: Path | None, as_json: bool
) -> None:
    from fgembed.export.layouts import export_layout

    parity = export_layout(layout.value, source, out, images)
    if as_json:
        import json

        print(json.dumps({"out": str(out), "layout": layout.value, "parity": parity.to_json()}))
        return
    names = f"{source.encoder.backbone.name}, {source.method}"
    print(showable(f"{out}: for {layout}, {names}"))
    print(f"parity with torch on {parity.images} images: {parity.sentence()}")
    print(f"guard: {source.verdict.headline()}")


def _precisions(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in list(Precision)]
    if unknown:
        raise ConfigError(
            f"--precision {text!r} holds the unknown {unknown[0]!r}",
            f"give one or several of {', '.join(Precision)}",
        )
    return names


def _print(exported: "Exported") -> None:
    config = exported.config
    names = f"{exported.folder}: {config.backbone}, {config.method}"
    print(showable(f"{names}, {config.dimensions} dimensions"))
    for name, report in exported.files.items():
        parity = report.parity
        print(f"{name}: parity with torch on {parity.images} images: {parity.sentence()}")
        if report.recall is not None:
            reference = exported.torch_recall
            torch = "" if reference is None else f", with torch {100 * reference:.1f}"
            print(f"  recall@1 {100 * report.recall:.1f}{torch}")
        if report.quantised is not None:
            in_float = len(report.quantised.in_float)
            print(f"  int8 in {report.quantised.layers} layers, {in_float} left in float")
        if report.drop is not None:
            print(f"  against fp32: {report.drop.sentence()}")
    print(f"guard: {exported.verdict.headline()}")
    where = "" if exported.folder == BUNDLE else f" --bundle {exported.folder}"
    print(showable(f'next: "fgembed index build{where}"'))
