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
from fgembed.backbones import make_backbone
from fgembed.checkpoint import load_encoder, save_encoder
from fgembed.config import RunConfig, validate, write_config
from fgembed.cores import core_count
from fgembed.data import TrainingImages, require_full_batch
from fgembed.devices import choose_device
from fgembed.embedding import TorchEmbedder
from fgembed.encoder import Encoder, gem_pooled, mean_pooled
from fgembed.errors import ConfigError
from fgembed.evaluate import FLOOR_GEM, FLOOR_MEAN, Embed, FloorTable, LabelledImages, floor_table
from fgembed.files import write_json
from fgembed.image_batches import check_bad, survey, write_skipped
from fgembed.images import Skipped, find_images
from fgembed.methods.base import Method
from fgembed.pooling import GeMPooling, RationalePooling, make_pooling, pooling_named
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
    device = choose_device(config.device)
    torch.set_num_threads(config.threads or core_count())
    found, unreadable = listed_images(config)
    for labelled in filter(None, (config.eval.gallery, config.eval.queries)):
        LabelledImages.find(Path(labelled))  # what would fail after the training fails now
    torch.manual_seed(config.seed)
    start = TorchEmbedder(gem_pooled(_encoder(config, "mean")), config.preprocessing, device)
    method = make_method(config, method_class)
    say(f"checking {len(found)} pictures")
    paths, skipped = readable_images(config, found, unreadable)
    if method.parameter_groups() and config.optimiser.epochs:
        require_full_batch(len(paths), config.optimiser.batch_size)
        method.check_batch(config.optimiser.batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    write_skipped(folder / "skipped.jsonl", skipped)
    write_config(folder / "config.toml", _resolved(config, method))
    set_latest(folder)
    views = method_class.view_maker(config.views, config.preprocessing)
    training_images = TrainingImages(paths, views, config.preprocessing, config.seed)
    method.to(device).to(memory_format=torch.channels_last)
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


def listed_images(config: RunConfig) -> tuple[list[Path], list[Skipped]]:
    """The training pictures by name, and what could not be looked at.

    Raises:
        ConfigError: no folder is set.
        NotFoundError: the folder is missing or empty.
    """
    if config.images is None:
        raise ConfigError(
            'no photographs are set; run "fgembed init PHOTOS" first, or give --images PHOTOS'
        )
    return find_images(Path(config.images))


def readable_images(
    config: RunConfig, found: Sequence[Path], unreadable: Sequence[Skipped]
) -> tuple[list[Path], list[Skipped]]:
    """The listed pictures that can be decoded, and the others; decodes each, so it takes long.

    Raises:
        BadImagesError: too many cannot be read.
    """
    at_least = config.preprocessing.draft * config.preprocessing.size
    paths, bad = survey(found, at_least, core_count())
    skipped = [*unreadable, *bad]
    check_bad(skipped, len(paths) + len(skipped), config.max_bad)
    return paths, skipped


def make_method(config: RunConfig, method_class: type[Method]) -> Method:
    """The method on its start, on the CPU, from the run's seed.

    Raises:
        ConfigError: a setting is unknown, or the pooling is one that the method does not train.
    """
    torch.manual_seed(config.seed)
    kind = config.pooling.kind if config.pooling.kind != "auto" else method_class.pooling
    if issubclass(pooling_named(kind), RationalePooling) and not method_class.trains_rationale:
        raise ConfigError(
            f"method {config.method.name!r} does not train rationale pooling; "
            "choose pooling.kind auto, mean or gem"
        )
    settings = config.method.model_extra or {}
    where = f"settings of method {config.method.name!r}"
    return method_class(_encoder(config, kind), validate(method_class.Config, settings, where))


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


def _encoder(config: RunConfig, kind: str) -> Encoder:
    settings = config.backbone
    size = config.preprocessing.size
    backbone = make_backbone(settings.name, settings.weights, settings.freeze_statistics, size)
    return Encoder(backbone, make_pooling(kind, backbone.channels))


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


def _resolved(config: RunConfig, method: Method) -> RunConfig:
    """The configuration with the method's defaults written out."""
    values = {"name": config.method.name} | method.config.model_dump()
    return config.model_copy(update={"method": type(config.method).model_validate(values)})
