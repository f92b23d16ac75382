"""A folder that shows what a model came to: the floor table in Markdown and JSON, and pictures.

The same model, pictures and command give the same report.
"""

import importlib.util
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgembed import __version__
from fgembed.config import RunConfig
from fgembed.disk.files import write_json, write_text
from fgembed.errors import FgembedError, MissingExtraError
from fgembed.evaluation.floor_table import FloorTable
from fgembed.evaluation.protocol import LabelledImages
from fgembed.evaluation.subject import Subject
from fgembed.model.encoder_files import load_encoder
from fgembed.reports.maps import Samples, map_rows, method_rows
from fgembed.reports.plots import draw_curves, draw_sheet
from fgembed.text import showable


@dataclass(frozen=True)
class Section:
    """One picture of the report, or why it is missing."""

    title: str
    words: str
    file: str | None


def report_folder(folder: Path) -> Path:
    """The folder, made if need be; what it holds besides a report stays there.

    Raises:
        FgembedError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FgembedError(f"{folder} is a file", "a report is a folder, choose another path")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_report(
    folder: Path, table: FloorTable, run: Path, config: RunConfig, queries: Path, command: str
) -> Path:
    """Writes `report.md`, `report.json` and the pictures that they name.

    Args:
        folder: see `report_folder`.
        table: the scores.
        run: the run that was scored, or that the scored bundle came from.
        config: the run's settings.
        queries: labelled pictures, a few of which are shown.
        command: what gives the report again.

    Returns:
        The Markdown file.
    """
    folder = report_folder(folder)
    draw_curves(folder / "recall_curves.png", table)
    curves = Section(
        "Recall curves",
        "Of how many queries is a picture of their class among the k nearest? The floors, which "
        "are the untouched start read in two ways, are not solid lines.",
        "recall_curves.png",
    )
    spec = load_encoder(run)[1]
    samples = Samples.of(LabelledImages.find(queries), spec)
    sections = [curves, _maps(folder, run, samples), *_method(folder, run, config, samples)]
    facts = {"command": command, "queries": str(queries), **_facts(run, config)}
    write_json(
        folder / "report.json",
        facts | {"table": table.to_json(), "pictures": [s.file for s in sections if s.file]},
    )
    write_text(folder / "report.md", _markdown(table, facts, sections))
    return folder / "report.md"


def _maps(folder: Path, run: Path, samples: Samples) -> Section:
    title = "Where the encoder looks"
    draw_sheet(folder / "maps.png", title, samples.classes, map_rows(run, samples))
    return Section(
        title,
        "Yellow is most and no colour least, each map by itself. Activation is the strength of the "
        "features, a learned rationale what the pooling weighs them by, attention that of the "
        "class token. They show what the encoder weighs, not why a match is right.",
        "maps.png",
    )


def _method(folder: Path, run: Path, config: RunConfig, samples: Samples) -> list[Section]:
    name = config.method.name
    title = f"What {name} makes of its views"
    try:
        rows = method_rows(run, config, samples)
    except FgembedError as error:
        return [Section(title, f"No picture: {error}.", None)]
    if not rows:
        return []
    draw_sheet(folder / "method.png", title, samples.classes, rows)
    kept = "" if config.select == "last" else "; the encoder kept may be of an earlier epoch"
    return [Section(title, f"After the last step of the training{kept}.", "method.png")]


def _facts(run: Path, config: RunConfig) -> dict[str, Any]:
    return {
        "fgembed": __version__,
        "run": str(run.resolve()),
        "method": config.method.name,
        "backbone": config.backbone.name,
        "weights": config.backbone.weights,
        "epochs": config.optimiser.epochs,
        "select": config.select,
        "seed": config.seed,
    }


def _markdown(table: FloorTable, facts: dict[str, Any], sections: list[Section]) -> str:
    name = showable(table.rows[-1].encoder).replace("`", "'")
    lines = [f"# Report on {name}", "", "## Scores, floors first", "", table.markdown()]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.file:
            lines += [f"![{section.title}]({section.file})", ""]
        lines += [section.words, ""]
    lines += ["## How it was made", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_code(str(value))} |" for key, value in facts.items()]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """The text as code in a table's cell."""
    return "`" + showable(text).replace("`", "'").replace("|", "\\|") + "`"


def prepare_report(folder: Path, subject: Subject) -> None:
    """Makes the report's folder, so that what stands in its way is known before the scores are.

    Raises:
        MissingExtraError: matplotlib is not installed.
        FgembedError: the folder is a file, or lies among photographs.
    """
    images = [Path(subject.config.images)] if subject.config.images else []
    for photographs in (subject.gallery, subject.queries, *images):
        if folder.resolve().is_relative_to(photographs.resolve()):
            raise FgembedError(
                f"{folder} lies in {photographs}, where the report's pictures would be taken for "
                "photographs",
                "choose a folder outside",
            )
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("--report", "matplotlib", "train")
    report_folder(folder)


def report_on(subject: Subject, table: FloorTable, folder: Path) -> Path:
    """Writes the report; its Markdown file."""
    command = shlex.join(["fgembed", *sys.argv[1:]])
    return write_report(folder, table, subject.run, subject.config, subject.queries, command)
