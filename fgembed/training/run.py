"""One run from settings to a finished run folder: survey, train, whiten, measure.

`runs/<name>/` then holds `config.toml`, `encoder.*`, `metrics.jsonl`, TensorBoard events,
`report.json`, `skipped.jsonl`, `state/`, and in `start/` the floors: the untouched start,
calibrated, and the whitenings of its other readings.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fgembed.config import RunConfig, write_config
from fgembed.disk.files import write_json
from fgembed.evaluation.floor_table import FloorTable, Selected
from fgembed.evaluation.floors import Floors
from fgembed.evaluation.guard import START_ITSELF, Verdict, judged_by_labels, judged_by_views
from fgembed.evaluation.label_free import Figures, label_free_figures, score_views
from fgembed.evaluation.subject import measure_run
from fgembed.images.batches import write_skipped
from fgembed.images.finding import Skipped
from fgembed.methods.base import Method
from fgembed.model.batch_norm_folding import fold_encoder
from fgembed.model.encoder_files import save_encoder
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.progress import ReportStage, silent
from fgembed.training.epoch_selection import Selection, parted
from fgembed.training.loop import Report, train
from fgembed.training.preparation import Prepared, prepare, readable_images, require_batch, trains
from fgembed.workspace import set_latest


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
        guard: whether the run is worth more than its start.
    """

    method: str
    images: int
    held_out: int
    selected: Selected | None
    skipped: list[Skipped]
    start: Figures
    trained: Figures
    table: FloorTable | None
    guard: Verdict

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self) | {"skipped": len(self.skipped)}


def run_training(
    config: RunConfig,
    method_class: type[Method],
    folder: Path,
    report: Report,
    report_stage: ReportStage = silent,
) -> RunReport:
    """Trains into `folder`, going on from a checkpoint where it holds one.

    Nothing is written, and `latest` keeps its place, until the settings and the pictures are
    found to be sound.

    Args:
        config: the run's settings.
        method_class: the class of the method that the settings name.
        folder: the run folder.
        report: takes the training's progress.
        report_stage: takes the name of each stage as it begins.

    Raises:
        FgembedError: see `fgembed.errors`; what is on disk stays usable.
    """
    prepared = prepare(config, method_class)
    config, method, device = prepared.config, prepared.method, prepared.device
    report_stage(f"checking {len(prepared.found)} pictures")
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
    report_stage("fitting the whitening, of the start and of the trained encoder")
    is_start = _is_start(prepared)
    _calibrate(prepared, paths, folder, is_start)
    start = fold_encoder(prepared.start, config.preprocessing.size)
    trained = start if is_start else fold_encoder(method.encoder, config.preprocessing.size)
    embedders = [TorchEmbedder(each, config.preprocessing, device) for each in (start, trained)]
    report_stage("measuring")
    table = measure_run(folder, config, device)
    held_out = len(readable) - len(paths)
    counts = (config.method.name, len(paths), held_out, selected, skipped)
    if is_start:
        verdict = START_ITSELF
    elif table is not None:
        verdict = judged_by_labels(table)
    else:
        report_stage("comparing with the start, without labels")
        of_start, of_trained = (score_views(each, paths) for each in embedders)
        verdict = judged_by_views(of_trained, of_start)
    before, after = (label_free_figures(each, training_images) for each in embedders)
    result = RunReport(*counts, before, after, table, verdict)
    write_json(folder / "report.json", result.to_json())
    return result


def _calibrate(prepared: Prepared, paths: Sequence[Path], folder: Path, is_start: bool) -> None:
    """Fits the floors and the run's encoder on the training pictures, and saves them."""
    config, spec, device = prepared.config, prepared.config.preprocessing, prepared.device
    floors = Floors(prepared.start, spec)
    floors.calibrate(paths, device, config.pooling)
    floors.save(folder)
    if is_start:
        save_encoder(folder, prepared.start, spec)
        return
    settings, encoder = config.pooling, prepared.method.encoder
    if settings.whitening or settings.levels:
        trained = SharedPass({"trained": encoder}, spec, device)
        trained.calibrate(paths, settings.whitening, settings.shrinkage)
    save_encoder(folder, encoder, spec)


def _is_start(prepared: Prepared) -> bool:
    """Whether the run's encoder is its own floor: nothing trained, and read alike."""
    settings, method = prepared.config.pooling, prepared.method
    same_reading = settings.of_the_floor() == settings
    same_pooling = method.encoder.pooling.kind == prepared.start.pooling.kind
    return not trains(prepared.config, method) and same_reading and same_pooling
