"""What follows a training: the floors and the run's encoder are whitened, and saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgembed.embedding.sampling import evenly_spaced
from fgembed.evaluation.floors import Floors
from fgembed.model.batch_norm_folding import fold_encoder
from fgembed.model.encoder import Encoder
from fgembed.model.encoder_files import save_encoder
from fgembed.model.rationale_floor import calibrate_floor
from fgembed.model.reading.fitting import FitSettings
from fgembed.model.shared_backbone import SharedPass
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.training.collapse import milder
from fgembed.training.labels.fitting import fit_labels
from fgembed.training.preparation import Prepared
from fgembed.training.spread import SAMPLE
from fgembed.workspace import RunFolder


@dataclass(frozen=True)
class Embedders:
    """What embeds with a run's two encoders, whitened; the same one if nothing was trained."""

    start: TorchEmbedder
    trained: TorchEmbedder


def check_start(prepared: Prepared, paths: Sequence[Path]) -> None:
    """Fits the floors on a sample: a start that cannot be whitened is refused before the training.

    Raises:
        FgembedError: the start maps images that differ to one point, as most random weights do.
    """
    sample = [paths[position] for position in evenly_spaced(len(paths), SAMPLE)]
    Floors(prepared.start, prepared.config.preprocessing).calibrate(
        sample, prepared.device, prepared.config.pooling
    )


def fit_and_save(
    prepared: Prepared, paths: Sequence[Path], run: RunFolder, is_start: bool
) -> Embedders:
    """Fits the floors and the run's encoder on the training images, and saves them.

    The last layer of an encoder that learned targets predicts these, in which labels are. Labels
    change that of another run's encoder afterwards, and those of the floors never.

    Args:
        prepared: its start and its method's encoder are calibrated in place.
        paths: the training images.
        run: the folder.
        is_start: whether the run's encoder is its own floor.

    Raises:
        FgembedError: too few images differ, or an encoder maps different ones to one point.
    """
    config, spec, device = prepared.config, prepared.config.preprocessing, prepared.device
    floors = Floors(prepared.start, spec)
    floors.calibrate(paths, device, config.pooling)
    floors.save(run.path)
    encoder = prepared.start if is_start else prepared.method.encoder
    calibrate_floor(encoder, paths, spec, device)
    if not is_start and (config.pooling.whitening or config.pooling.levels):
        shared = SharedPass({"trained": encoder}, spec, device)
        settings, targets = FitSettings.of(config.pooling), prepared.method.targets
        sample = shared.calibrate(
            paths,
            settings if targets is None else settings.to_targets(),
            remedy=f"start a new run with {milder(config, prepared.method)}",
            targets=targets,
        )
        if prepared.labels is not None and targets is None:  # else the targets hold them
            fit_labels(encoder, prepared.labels, spec, device, sample.vectors["trained"])
    save_encoder(run.path, encoder, spec)
    start = _embedder(prepared.start, prepared)
    return Embedders(start, start if is_start else _embedder(encoder, prepared))


def _embedder(encoder: Encoder, prepared: Prepared) -> TorchEmbedder:
    spec = prepared.config.preprocessing
    return TorchEmbedder(fold_encoder(encoder, spec.size), spec, prepared.device)
