"""One run from settings to a finished run folder: survey, train, whiten, measure.

`runs/<name>/` then holds `config.toml`, `encoder.*`, `start/encoder.*` (the untouched start
with GeM and whitening: the floor), `metrics.jsonl`, TensorBoard events, `report.json`,
`skipped.jsonl` and `state/`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fgembed import metrics
from fgembed.checkpoint import load_encoder, save_encoder
from fgembed.config import RunConfig, write_config
from fgembed.data import TrainingImages
from fgembed.embedding import TorchEmbedder
from fgembed.encoder import mean_pooled
from fgembed.evaluate import FLOOR_GEM, FLOOR_MEAN, Embed, floor_table
from fgembed.files import write_json
from fgembed.image_batches import write_skipped
from fgembed.images import Skipped
from fgembed.methods.base import Method
from fgembed.pooling import GeMPooling
from fgembed.preparation import prepare, readable_images, require_batch, resolved
from fgembed.scores import FloorTable
from fgembed.train import Report, train
from fgembed.workspace import set_latest

FIGURE_IMAGES = 256
FLOOR_WHITENING = 512  # dimensions of the floor where the run itself whitens nothing


@dataclass(frozen=True)
class Figures:
    """What can be said without labels (see `fgembed.metrics`)."""

    effective_rank: float
    alignment: float
    uniformity: float


@dataclass(frozen=True)
class RunReport:
    """What a finished run knows of itself; `report.json`."""

    method: str
    images: int
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
    start, method, device = prepared.start, prepared.method, prepared.device
    say(f"checking {len(prepared.found)} pictures")
    paths, skipped = readable_images(config, prepared.found, prepared.unreadable)
    require_batch(config, method, len(paths))
    folder.mkdir(parents=True, exist_ok=True)
    write_skipped(folder / "skipped.jsonl", skipped)
    write_config(folder / "config.toml", resolved(config, method))
    set_latest(folder)
    training_images = prepared.training_images(paths)
    train(method, training_images, config, folder, device, report)

    say("fitting the whitening, of the start and of the trained encoder")
    trained = _whiten(start, method, paths, config)
    save_encoder(folder / "start", start.model.encoder, config.preprocessing)
    save_encoder(folder, trained.model.encoder, config.preprocessing)
    start_figures = label_free_figures(start, training_images)
    same = trained is start
    say("measuring")
    result = RunReport(
        config.method.name,
        len(paths),
        skipped,
        start_figures,
        start_figures if same else label_free_figures(trained, training_images),
        measure_run(folder, config, device),
    )
    write_json(folder / "report.json", result.to_json())
    return result


def load_embedders(run: Path, device: torch.device) -> dict[str, Embed]:
    """The floor table's encoders, floors first, by the name of their row."""
    encoder, spec = load_encoder(run)
    start, _ = load_encoder(run / "start")
    embedders = {FLOOR_MEAN: mean_pooled(start), FLOOR_GEM: start, f"run {run.name}": encoder}
    return {name: TorchEmbedder(model, spec, device) for name, model in embedders.items()}


def measure_run(folder: Path, config: RunConfig, device: torch.device) -> FloorTable | None:
    """The run's floor table; None where the settings name no labelled folders."""
    if config.eval.gallery is None or config.eval.queries is None:
        return None
    embedders = load_embedders(folder, device)
    gallery, queries = Path(config.eval.gallery), Path(config.eval.queries)
    return floor_table(embedders, gallery, queries, config.max_bad)


def label_free_figures(embedder: TorchEmbedder, images: TrainingImages) -> Figures:
    """Effective rank, alignment and uniformity on a fixed sample of the training pictures."""
    sample = _spread(len(images), FIGURE_IMAGES)
    vectors = embedder([images.paths[index] for index in sample]).vectors
    pairs = [_view_vectors(embedder, images, sample, view) for view in (0, 1)]
    return Figures(
        metrics.effective_rank(vectors),
        metrics.alignment(*pairs),
        metrics.uniformity(vectors),
    )


@torch.inference_mode()
def _view_vectors(
    embedder: TorchEmbedder, images: TrainingImages, sample: Sequence[int], view: int
) -> metrics.Vectors:
    vectors = [
        embedder.model.encoder(
            torch.stack([images[0, i][view] for i in sample[k : k + 64]]).to(embedder.device)
        )
        for k in range(0, len(sample), 64)
    ]
    return torch.cat(vectors).cpu().numpy()


def _spread(count: int, wanted: int) -> list[int]:
    spread = np.linspace(0, count - 1, min(count, wanted))
    return [int(index) for index in np.unique(spread.astype(int))]


def _whiten(
    start: TorchEmbedder, method: Method, paths: Sequence[Path], config: RunConfig
) -> TorchEmbedder:
    """Fits the start's whitening, and that of the trained encoder, which is returned."""
    pooling = config.pooling
    start.fit_whitening(paths, pooling.whitening or FLOOR_WHITENING, pooling.shrinkage)
    if not method.parameter_groups() and _reads_like_floor(method, config):
        return start
    trained = TorchEmbedder(method.encoder, config.preprocessing, start.device)
    if pooling.whitening:
        trained.fit_whitening(paths, pooling.whitening, pooling.shrinkage)
    return trained


def _reads_like_floor(method: Method, config: RunConfig) -> bool:
    return method.encoder.pooling.kind == GeMPooling.kind and config.pooling.whitening > 0
