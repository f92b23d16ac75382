"""The whole job on images that fgembed draws itself: no download, minutes on a CPU."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.cores import core_count
from fgembed.demo.drawing import DrawnImage, draw_set
from fgembed.disk.locks import LOCK_FILE, sole_writer
from fgembed.errors import FgembedError
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
from fgembed.training.run import run_training
from fgembed.training.run_report import RunReport
from fgembed.workspace import RunFolder

SPECIES = 10
TRAIN = 80
TEST = 20
HITS = 5


@dataclass(frozen=True)
class PointingGame:
    """How often a point falls on the deciding part, as shares of the test images.

    Attributes:
        rationale: the peak of the trained encoder's rationale.
        trained: the peak of the trained encoder's activation.
        start: the peak of the untouched start's activation.
        centre: the centre of the image.
        chance: a random point, the mean share of the image that the part covers.
        images: the number of test images.
    """

    rationale: float
    trained: float
    start: float
    centre: float
    chance: float
    images: int


@dataclass(frozen=True)
class DemoReport:
    """The results of the demo."""

    run: RunReport
    pointing: PointingGame
    results_page: Path


def run_demo(
    folder: Path, overrides: dict[str, object], report_stage: ReportStage, report: Report
) -> DemoReport:
    """Draws, trains, exports, indexes and searches in `folder`.

    Raises:
        InUseError: another process writes `folder`.
        FgembedError: `folder` is not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise FgembedError(f"{folder} is a file, expected a folder", "give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with sole_writer(folder):
        if any(path.name != LOCK_FILE for path in folder.iterdir()):
            raise FgembedError(f"{folder} is not empty", "remove it, or give another --out")
        return _whole_job(folder, overrides, report_stage, report)


def _whole_job(
    folder: Path, overrides: dict[str, object], report_stage: ReportStage, report: Report
) -> DemoReport:
    photos = folder / "photos"
    report_stage(f"drawing {SPECIES} species, {SPECIES * (TRAIN + TEST)} images, into {photos}")
    drawn = draw_set(photos, SPECIES, TRAIN, TEST)
    labelled = {"gallery": str(photos / "train"), "queries": str(photos / "test")}
    settings = {"recipe": "demo", "images": str(photos / "train"), "eval": labelled}
    config = resolve(settings, overrides, "demo")
    run = folder / "runs" / "demo"
    report_stage(
        f"training {config.method.name} for {config.optimiser.epochs} epochs from a random start"
    )
    run_report = run_training(config, method_named(config.method.name), run, report, report_stage)
    report_stage("exporting, and checking ONNX Runtime against torch")
    # force: the verdict of the guard is printed at the end.
    export_bundle(Source.open(run, force=True), folder / "bundle")
    report_stage("indexing and searching")
    bundle = Bundle.open(folder / "bundle")
    build_index(photos / "train", bundle, folder / "gallery.index")
    queries = [image for image in drawn if image.split == "test"]
    pointing = play_pointing_game(run, queries)
    page = folder / "gallery.html"
    _write_results_page(page, folder / "gallery.index", queries, run_report, pointing)
    return DemoReport(run_report, pointing, page)


def play_pointing_game(run: Path, drawn: list[DrawnImage]) -> PointingGame:
    """Compares the peaks of the rationale and of the activations with the deciding parts."""
    masks = np.stack([np.asarray(Image.open(image.mask)) > 127 for image in drawn])
    trained, spec = load_encoder(run)
    start, _ = load_encoder(RunFolder(run).start.path)
    hits = []
    for encoder in (trained, mean_pooled(trained), mean_pooled(start)):
        embedder = TorchEmbedder(encoder, spec, torch.device("cpu"))
        batches = ImageBatches([image.image for image in drawn], spec, threads=core_count())
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
        images=len(drawn),
    )


def _write_results_page(
    file: Path, index: Path, queries: list[DrawnImage], report: RunReport, pointing: PointingGame
) -> None:
    """One query of each species with its hits."""
    searcher = Searcher.open(index)
    first = {query.species: query.image for query in reversed(queries)}
    rows = [explain(searcher, path, searcher.search(path, HITS)).row for path in first.values()]
    assert report.table is not None
    facts = {
        row.encoder: ", ".join(
            f"{name} {100 * row.scores[name].value:.1f} %" for name in ("recall@1", "precision@10")
        )
        for row in report.table.rows
    }
    facts["rationale's peak on the deciding part"] = (
        f"{pointing.rationale:.0%} (centre {pointing.centre:.0%}, chance {pointing.chance:.0%}; "
        f"activation's peak {pointing.trained:.0%}, of the start {pointing.start:.0%})"
    )
    write_html(file, rows, "Beetles that differ in one small part", facts)
