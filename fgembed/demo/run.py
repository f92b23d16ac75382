"""The whole job on pictures that fgembed draws itself: nothing to download, minutes on a CPU."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.cores import core_count
from fgembed.demo.drawing import Filed, draw_set
from fgembed.errors import FgembedError
from fgembed.evaluation.floor_table import percent
from fgembed.evaluation.metrics import pointing_game
from fgembed.export.run_source import Source
from fgembed.export.write_bundle import export_bundle
from fgembed.images.batches import ImageBatches
from fgembed.index import Searcher
from fgembed.index.changes.build import build_index
from fgembed.index.search.explain import explain
from fgembed.methods.table import method_named
from fgembed.model.encoder import mean_pooled
from fgembed.model.encoder_files import load_encoder
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.pages.html_page import write_html
from fgembed.progress import ReportStage
from fgembed.resolve import resolve
from fgembed.training.loop import Report
from fgembed.training.run import RunReport, run_training
from fgembed.workspace import RunFolder

SPECIES = 10
TRAIN = 80
TEST = 20
HITS = 5


@dataclass(frozen=True)
class PointingGame:
    """How often a point falls on the deciding part, shares of the test pictures.

    Attributes:
        rationale: the peak of the trained encoder's rationale.
        trained: the peak of the trained encoder's activation.
        start: the peak of the untouched start's activation.
        centre: the middle of the picture.
        chance: a point anywhere, which is the parts' mean share of the picture.
        pictures: how many were looked at.
    """

    rationale: float
    trained: float
    start: float
    centre: float
    chance: float
    pictures: int


@dataclass(frozen=True)
class DemoReport:
    """What the demo came to."""

    run: RunReport
    pointing: PointingGame
    gallery: Path


def run_demo(
    folder: Path, overrides: dict[str, object], report_stage: ReportStage, report: Report
) -> DemoReport:
    """Draws, trains, exports, indexes, searches; everything ends up in `folder`.

    Raises:
        FgembedError: `folder` holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FgembedError(f"{folder} is not empty", "remove it, or give another --out")
    photos = folder / "photos"
    report_stage(f"drawing {SPECIES} species, {SPECIES * (TRAIN + TEST)} pictures, into {photos}")
    filed = draw_set(photos, SPECIES, TRAIN, TEST)
    scored = {"gallery": str(photos / "train"), "queries": str(photos / "test")}
    given = {"recipe": "demo", "images": str(photos / "train"), "eval": scored}
    config = resolve(given, overrides, "demo")
    run = folder / "runs" / "demo"
    report_stage(
        f"training {config.method.name} for {config.optimiser.epochs} epochs from a random start"
    )
    run_report = run_training(config, method_named(config.method.name), run, report, report_stage)
    report_stage("exporting, with the proof that ONNX Runtime gives what torch gives")
    export_bundle(
        Source.open(run, force=True), folder / "bundle"
    )  # the guard's verdict is shown at the end
    report_stage("indexing and searching")
    bundle = Bundle.open(folder / "bundle")
    build_index(photos / "train", bundle, folder / "gallery.index")
    asked = [one for one in filed if one.split == "test"]
    pointing = play_pointing_game(run, asked)
    gallery = folder / "gallery.html"
    _write_gallery(gallery, folder / "gallery.index", asked, run_report, pointing)
    return DemoReport(run_report, pointing, gallery)


def play_pointing_game(run: Path, drawn: list[Filed]) -> PointingGame:
    """Where the trained rationale and the start's activation peak, against the known parts."""
    masks = np.stack([np.asarray(Image.open(one.mask)) > 127 for one in drawn])
    trained, spec = load_encoder(run)
    start, _ = load_encoder(RunFolder(run).start.path)
    hits = []
    for encoder in (trained, mean_pooled(trained), mean_pooled(start)):
        embedder = TorchEmbedder(encoder, spec, torch.device("cpu"))
        batches = ImageBatches([one.picture for one in drawn], spec, threads=core_count())
        with torch.inference_mode():
            maps = [embedder.model(torch.from_numpy(p))[1].numpy() for _, p in batches]
        hits.append(float(pointing_game(np.concatenate(maps), masks).mean()))
    middle = np.ones((len(drawn), 1, 1))
    return PointingGame(
        rationale=hits[0],
        trained=hits[1],
        start=hits[2],
        centre=float(pointing_game(middle, masks).mean()),
        chance=float(masks.mean()),
        pictures=len(drawn),
    )


def _write_gallery(
    file: Path, index: Path, asked: list[Filed], report: RunReport, pointing: PointingGame
) -> None:
    """One query of each species with its hits."""
    searcher = Searcher.open(index)
    first = {one.species: one.picture for one in reversed(asked)}
    rows = [explain(searcher, one, searcher.search(one, HITS)).row for one in first.values()]
    assert report.table is not None
    facts = {
        f"recall@1, {row.encoder}": percent(row.scores["recall@1"]) + " %"
        for row in report.table.rows
    }
    facts["rationale's peak on the deciding part"] = (
        f"{pointing.rationale:.0%} (centre {pointing.centre:.0%}, chance {pointing.chance:.0%}; "
        f"activation's peak {pointing.trained:.0%}, of the start {pointing.start:.0%})"
    )
    write_html(file, rows, "Beetles that differ in one small part", facts)
