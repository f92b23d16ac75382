"""What follows a training: the floors and the run's encoder are whitened, and saved."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fgembed.evaluation.floor_table import Selected
from fgembed.evaluation.floors import Floors
from fgembed.model.batch_norm_folding import fold_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.encoder_files import save_encoder
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.progress import ReportStage
from fgembed.training.collapse import milder
from fgembed.training.preparation import Prepared

if TYPE_CHECKING:
    from fgembed.training.run import ReadyRun, TrainedRun


@dataclass(frozen=True)
class CalibratedRun:
    """A run whose encoders are whitened and saved.

    Attributes:
        ready: its start and its method's encoder are calibrated in place.
        selected: the epoch; None if the last one is kept.
        start: embeds with the untouched start.
        trained: embeds with the run's encoder.
    """

    ready: "ReadyRun"
    selected: Selected | None
    start: TorchEmbedder
    trained: TorchEmbedder


def calibrate(run: "TrainedRun", report_stage: ReportStage) -> CalibratedRun:
    """Fits the floors and the run's encoder on the training images, and saves them."""
    report_stage("fitting the whitening, of the start and of the trained encoder")
    ready, prepared = run.ready, run.ready.prepared
    config, spec, device = prepared.config, prepared.config.preprocessing, prepared.device
    floors = Floors(prepared.start, spec)
    floors.calibrate(ready.images.paths, device, config.pooling)
    floors.save(ready.folder.path)
    encoder = prepared.start if ready.is_start else prepared.method.encoder
    if not ready.is_start and (config.pooling.whitening or config.pooling.levels):
        shared = SharedPass({"trained": encoder}, spec, device)
        shared.calibrate(
            ready.images.paths,
            config.pooling.whitening,
            config.pooling.shrinkage,
            remedy=f"start a new run with {milder(config, prepared.method)}",
        )
    save_encoder(ready.folder.path, encoder, spec)
    start = _embedder(prepared.start, prepared)
    trained = start if ready.is_start else _embedder(encoder, prepared)
    return CalibratedRun(ready=ready, selected=run.selected, start=start, trained=trained)


def _embedder(encoder: Encoder, prepared: Prepared) -> TorchEmbedder:
    spec = prepared.config.preprocessing
    return TorchEmbedder(fold_encoder(encoder, spec.size), spec, prepared.device)
