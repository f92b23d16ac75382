"""The README.md of a bundle: what the model is, how it was made, its scores and their floor."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from fgembed.bundle import BundleConfig
from fgembed.evaluation.floor_table import FloorTable, Selected
from fgembed.evaluation.guard import Verdict
from fgembed.export.file_report import FileReport
from fgembed.export.run_source import Source
from fgembed.text import showable


def model_card(config: BundleConfig, source: Source, files: Sequence[FileReport]) -> str:
    """The card as Markdown with the hub's YAML header.

    Args:
        config: the bundle's description.
        source: what is exported.
        files: what was measured of each ONNX file, float32 first.
    """
    report, verdict, parity = source.report, source.verdict, files[0].parity
    size = int(config.preprocessing["size"])
    untrained = verdict.by == "weights"
    return f"""---
library_name: fgembed
pipeline_tag: image-feature-extraction
tags: [fine-grained, image-retrieval, onnx]
---

# {config.backbone}, {_method(config.method)}

An image encoder for look-alike photographs, made with fgembed: an image in, a unit vector of
{config.dimensions} numbers out; the cosine of two vectors says how alike the images are. Compare
it among the hits of one query: whitened vectors have small cosines even where a hit is right.

| | |
|---|---|
| backbone | {config.backbone}, started from `{_basename(source.settings["backbone"]["weights"])}` |
| method | {config.method} |
| pooling | {config.pooling}; the heat map is {_rationale(config.rationale)} |
| training images | {report["images"]}, without labels |
| epoch | {"none" if untrained else _epoch(report.get("selected"))} |
| input | `image`, uint8 (batch, {size}, {size}, 3), RGB; normalised inside |
| fit | {config.preprocessing["fit"]}, {config.preprocessing["resample"]} |
| outputs | `embedding` float32 (batch, {config.dimensions}), `rationale` float32 (batch, h, w) |

## Scores, with the untouched start as the floor

{_guard(verdict)}

{_scores(report.get("table"), untrained)}
## Parity

ONNX Runtime against torch on {parity.images} images at batch {_list(parity.batches)};
`parity.json` has more. The last column compares a file with the float32 one.

| file | least cosine | mean cosine | same nearest | ten nearest shared | loses |
|---|---|---|---|---|---|
{_files(files)}
"""


def _files(files: Sequence[FileReport]) -> str:
    return "\n".join(
        f"| {file.parity.precision} | {file.parity.min_cosine:.7f} | "
        f"{file.parity.mean_cosine:.7f} | {file.parity.top1_agreement:.1%} | "
        f"{file.parity.top10_agreement:.1%} | "
        f"{'-' if file.drop is None else file.drop.sentence()} |"
        for file in files
    )


def _basename(weights: str) -> str:
    """A file's name without its folder: a path of the machine that trained is private."""
    return showable(PurePath(weights).name).replace("`", "'").replace("|", "\\|")


def _method(name: str) -> str:
    return "untouched start" if name == "none" else f"trained with {name}"


def _epoch(selected: dict[str, Any] | None) -> str:
    return "the last" if selected is None else Selected(**selected).sentence()


def _guard(verdict: Verdict) -> str:
    is_forced = verdict.outcome == "below" or verdict.ships_start
    forced = "Exported by `--force` although it is " if is_forced else "Guard: "
    return f"{forced}{verdict.headline()}."


def _scores(table: dict[str, Any] | None, untrained: bool) -> str:
    if table is None:
        return (
            "Not measured: the run had no labelled images. Without its floor no score is shown;"
            " `fgembed evaluate` measures both.\n"
        )
    scores = FloorTable.from_json(table)
    return (scores.without_trained() if untrained else scores).markdown()


def _rationale(kind: str) -> str:
    return "learned" if kind == "learned" else "the strength of the activation, not learned"


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"
