"""The report on a model: a folder with the floor table in Markdown and JSON, and figures.

The same model, images and command give the same report, but for the speeds of the encoders.
"""

import importlib.util
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgembed import __version__
from fgembed.config import RunConfig
from fgembed.disk.files import read_json, write_json, write_text
from fgembed.disk.locks import sole_writer
from fgembed.disk.outputs import Output, is_our_png, opening
from fgembed.errors import FgembedError, IntegrityError, MissingExtraError
from fgembed.evaluation.floor_table import FloorTable
from fgembed.evaluation.labelled_images import LabelledImages
from fgembed.evaluation.subject import Subject
from fgembed.model.encoder_files import load_encoder
from fgembed.reports.cost_plot import compared_rows, cost_text, draw_cost
from fgembed.reports.maps import Samples, map_rows, method_rows
from fgembed.reports.plots import draw_curves, draw_sheet, draw_spread
from fgembed.text import showable
from fgembed.training.metrics_log import logged
from fgembed.training.spread import RANK, SPREAD
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class Section:
    """A section of the report: a figure with its caption, or the reason why it has none.

    Attributes:
        title: its heading.
        text: the caption or the reason.
        file: name of the figure's file, None where there is none.
    """

    title: str
    text: str
    file: str | None


def report_folder(folder: Path) -> Path:
    """Makes the folder if it is missing; other files in it stay as they are.

    Raises:
        FgembedError: the path is a file, or a file of a report's name is there and is none.
    """
    if folder.exists() and not folder.is_dir():
        raise FgembedError(f"{folder} is a file", "a report is a folder, choose another path")
    folder.mkdir(parents=True, exist_ok=True)
    for output, name in ((NUMBERS, NUMBERS_FILE), (TEXT, TEXT_FILE)):
        output.check(folder / name)
    for name in FIGURES - _earlier_figures(folder):
        FIGURE.check(folder / name)
    return folder


def _earlier_figures(folder: Path) -> set[str]:
    """The figures of the report that is there; those of fgembed 0.1 have no mark."""
    file = folder / NUMBERS_FILE
    return {*read_json(file, "report").get("pictures", [])} if file.is_file() else set()


def _is_numbers(file: Path) -> bool:
    try:
        return {"fgembed", "command", "table"} <= read_json(file, "report").keys()
    except IntegrityError:
        return False


NUMBERS_FILE, TEXT_FILE = "report.json", "report.md"
FIGURES = {"recall_curves.png", "cost.png", "maps.png", "method.png"}
NUMBERS = Output("a report", (), _is_numbers)
TEXT = Output("a report", (), lambda file: opening(file).startswith(b"# Report on "))
FIGURE = Output("a figure", (), is_our_png)


def write_report(
    folder: Path, table: FloorTable, run: Path, config: RunConfig, queries: Path, command: str
) -> Path:
    """Writes `report.md`, `report.json` and the figures that they name.

    Args:
        folder: see `report_folder`.
        table: the scores.
        run: the run that was scored, or from which the scored bundle was exported.
        config: the run's settings.
        queries: folder of labelled images, a few of which are shown.
        command: the command that gives this report again.

    Returns:
        The Markdown file.
    """
    folder = report_folder(folder)
    draw_curves(folder / "recall_curves.png", table)
    curves = Section(
        title="Recall curves",
        text="The share of queries that have an image of their class among the k nearest. The "
        "floors, which are readings of the untouched start, are not solid lines.",
        file="recall_curves.png",
    )
    spec = load_encoder(run)[1]
    samples = Samples.of(LabelledImages.find(queries, config.include_clutter), spec)
    maps, method = _maps(folder, run, samples), _method(folder, run, config, samples)
    sections = [curves, *_cost(folder, table), *_training(folder, run), maps, *method]
    facts = {"command": command, "queries": str(queries), **_facts(run, config)}
    write_json(
        folder / NUMBERS_FILE,
        facts
        | {
            "table": table.to_json(),
            "pictures": [section.file for section in sections if section.file],
        },
    )
    write_text(folder / TEXT_FILE, _markdown(table, facts, sections))
    return folder / TEXT_FILE


def _cost(folder: Path, table: FloorTable) -> list[Section]:
    """Quality against cost; nothing where no encoder was timed."""
    if not compared_rows(table):
        return []
    draw_cost(folder / "cost.png", table)
    return [Section("Quality against cost", cost_text(table), "cost.png")]


def _training(folder: Path, run: Path) -> list[Section]:
    """The spread over the training; nothing where it was not logged."""
    figures = logged(RunFolder(run).metrics, (SPREAD, RANK))
    if not figures:
        return []
    draw_spread(folder / "spread.png", *zip(*figures, strict=True))
    return [
        Section(
            title="Spread of the embeddings",
            text="Of up to 64 fixed training images, before the whitening. The spread is the root "
            "mean squared distance of the unit vectors from their mean. A training whose spread "
            "or rank falls to nearly nothing has collapsed, and is stopped.",
            file="spread.png",
        )
    ]


def _maps(folder: Path, run: Path, samples: Samples) -> Section:
    title = "Where the encoder looks"
    draw_sheet(folder / "maps.png", title, samples.classes, map_rows(run, samples))
    return Section(
        title=title,
        text="Yellow is the largest value and no colour the smallest, in each map by itself. "
        "Activation is the strength of the features, the learned rationale is the weight that the "
        "pooling gives them, and attention is that of the class token. The maps show what the "
        "encoder weighs, not why a match is right.",
        file="maps.png",
    )


def _method(folder: Path, run: Path, config: RunConfig, samples: Samples) -> list[Section]:
    name = config.method.name
    title = f"What {name} makes of its views"
    try:
        rows = method_rows(run, config, samples)
    except FgembedError as error:
        return [Section(title, f"No figure: {error}.", None)]
    if not rows:
        return []
    draw_sheet(folder / "method.png", title, samples.classes, rows)
    selected = "" if config.select == "last" else "; the run's encoder may be of an earlier epoch"
    return [Section(title, f"After the last step of the training{selected}.", "method.png")]


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
    name = showable(table.trained.encoder).replace("`", "'")
    lines = [f"# Report on {name}", "", "## Scores, floors first", "", table.markdown()]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.file:
            lines += [f"![{section.title}]({section.file})", ""]
        lines += [section.text, ""]
    lines += ["## How it was made", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_code(str(value))} |" for key, value in facts.items()]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """The text as code in a cell of a table."""
    return "`" + showable(text).replace("`", "'").replace("|", "\\|") + "`"


@contextmanager
def prepared_report(folder: Path, subject: Subject) -> Iterator[None]:
    """The block computes the scores and reports on them; the errors of the folder come first.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InUseError: another process writes a report into the folder.
        FgembedError: the folder is a file, lies in a folder of images, or holds a file of a
            report's name that is none.
    """
    training = [Path(subject.config.images)] if subject.config.images else []
    for images in (subject.gallery, subject.queries, *training):
        if folder.resolve().is_relative_to(images.resolve()):
            raise FgembedError(
                f"{folder} lies in {images}, where the report's figures would count as images",
                "choose a folder outside",
            )
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("--report", "matplotlib", "train")
    with sole_writer(report_folder(folder)):
        yield


def report_on(subject: Subject, table: FloorTable, folder: Path) -> Path:
    """Writes the report on a subject with its scores, and gives the Markdown file."""
    command = shlex.join(["fgembed", *sys.argv[1:]])
    return write_report(folder, table, subject.run, subject.config, subject.queries, command)
