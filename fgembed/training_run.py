"""One run from settings to a finished run folder: survey, train, whiten, measure.

`runs/<name>/` then holds `config.toml`, `encoder.*`, `start/encoder.*` (the untouched start
with GeM and whitening: the floor), `metrics.jsonl`, TensorBoard events, `report.json`,
`skipped.jsonl` and `state/`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fgembed.checkpoint import load_encoder, save_encoder
from fgembed.config import RunConfig, write_config
from fgembed.data import TrainingImages
from fgembed.embedding import TorchEmbedder
from fgembed.encoder import mean_pooled
from fgembed.evaluate import FLOOR_MEAN, Embed, floor_table, whitened_floor
from fgembed.files import write_json
from fgembed.image_batches import write_skipped
from fgembed.images import Skipped
from fgembed.label_free import Figures, label_free_figures
from fgembed.methods.base import Method
from fgembed.preparation import Prepared, prepare, readable_images, require_batch
from fgembed.scores import SELECTION_NOTES, FloorTable, Selected
from fgembed.selection import Selection, parted
from fgembed.train import Report, train
from fgembed.workspace import set_latest

FLOOR_WHITENING = 512  # dimensions of the floor where the run itself whitens nothing


@dataclass(frozen=True)
class RunReport:
    """What a finished run knows of itself; `report.json`.

    Attributes:
        method: its name.
        images: how many were trained on.
        held_out: how many more were kept out to select the epoch.
        selected: the epoch, where the last one was not simply kept.
        skipped: what could not be read.
        start: of the untouched start, whitened.
        trained: of the run's encoder.
        table: the scores, where there are labelled pictures.
    """

    method: str
    images: int
    held_out: int
    selected: Selected | None
    skipped: list[Skipped]
    start: Figures
    trained: Figures
    table: FloorTable | None

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self) | {"skipped": len(self.skipped)}


def run_training(
    config: RunConfig,
    method_class: type[Method],
    folder: Path,
    report: Report,
    say: Callable[[str], None] = lambda stage: None,
) -> RunReport:
    """Trains into `folder`, going on from a checkpoint where it holds one.

    Nothing is written, and `latest` keeps its place, until the settings and the pictures are
    found to be sound.

    Args:
        config: the run's settings.
        method_class: the class of the method that the settings name.
        folder: the run folder.
        report: takes the training's progress.
        say: takes the name of each stage as it begins.

    Raises:
        FgembedError: see `fgembed.errors`; what is on disk stays usable.
    """
    prepared = prepare(config, method_class)
    config, method, device = prepared.config, prepared.method, prepared.device
    say(f"checking {len(prepared.found)} pictures")
    readable, skipped = readable_images(config, prepared.found, prepared.unreadable)
    paths, split = parted(config, readable)
    require_batch(config, method, len(paths))
    folder.mkdir(parents=True, exist_ok=True)
    write_skipped(folder / "skipped.jsonl", skipped)
    write_config(folder / "config.toml", config)
    set_latest(folder)
    training_images = prepared.training_images(paths)
    selection = Selection(method.encoder, split, config, folder, device) if split else None
    epoch_ended = selection.epoch_ended if selection else None
    train(method, training_images, config, folder, device, report, epoch_ended)
    selected = selection.restore() if selection else None
    say("fitting the whitening, of the start and of the trained encoder")
    start, trained = _figures(prepared, training_images, folder)
    say("measuring")
    table = measure_run(folder, config, device)
    held_out = len(readable) - len(paths)
    counts = (config.method.name, len(paths), held_out, selected, skipped)
    result = RunReport(*counts, start, trained, table)
    write_json(folder / "report.json", result.to_json())
    return result


def load_embedders(run: Path, device: torch.device) -> dict[str, Embed]:
    """The floor table's encoders, floors first, by the name of their row."""
    encoder, spec = load_encoder(run)
    start, _ = load_encoder(run / "start")
    floors = {FLOOR_MEAN: mean_pooled(start), whitened_floor(start.pooling.kind): start}
    embedders = floors | {f"run {run.name}": encoder}
    return {name: TorchEmbedder(model, spec, device) for name, model in embedders.items()}


def measure_run(folder: Path, config: RunConfig, device: torch.device) -> FloorTable | None:
    """The run's floor table; None where the settings name no labelled folders."""
    if config.eval.gallery is None or config.eval.queries is None:
        return None
    embedders = load_embedders(folder, device)
    gallery, queries = Path(config.eval.gallery), Path(config.eval.queries)
    notes = SELECTION_NOTES[config.select]
    return floor_table(embedders, gallery, queries, config.max_bad, notes=notes)


def _figures(prepared: Prepared, images: TrainingImages, folder: Path) -> tuple[Figures, Figures]:
    """Whitens and saves the start and the trained encoder; what can be said of each."""
    config, start = prepared.config, prepared.start
    trained = _whiten(start, prepared.method, images.paths, config)
    save_encoder(folder / "start", start.model.encoder, config.preprocessing)
    save_encoder(folder, trained.model.encoder, config.preprocessing)
    figures = label_free_figures(start, images)
    return figures, figures if trained is start else label_free_figures(trained, images)


def _whiten(
    start: TorchEmbedder, method: Method, paths: Sequence[Path], config: RunConfig
) -> TorchEmbedder:
    """Fits the start's whitening, and that of the trained encoder, which is returned."""
    pooling = config.pooling
    start.fit_whitening(paths, pooling.whitening or FLOOR_WHITENING, pooling.shrinkage)
    same_reading = method.encoder.pooling.kind == start.model.encoder.pooling.kind
    if not method.parameter_groups() and same_reading and pooling.whitening:
        return start
    trained = TorchEmbedder(method.encoder, config.preprocessing, start.device)
    if pooling.whitening:
        trained.fit_whitening(paths, pooling.whitening, pooling.shrinkage)
    return trained
