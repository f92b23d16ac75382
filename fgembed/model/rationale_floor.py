"""Calibrates the constant above which a rationale counts: the least response to training images."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fgembed.cores import core_count
from fgembed.embedding.sampling import evenly_spaced
from fgembed.images.batches import ImageBatches
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.calibration import BATCH_SIZE, SAMPLE
from fgembed.model.encoder import Encoder
from fgembed.model.module_state import evaluation_mode
from fgembed.model.pooling import FloorRationalePooling
from fgembed.model.torch_embedder import TorchEmbedder


@torch.inference_mode()
def calibrate_floor(
    encoder: Encoder, paths: Sequence[Path], spec: Preprocessing, device: torch.device
) -> None:
    """Sets m of a `FloorRationalePooling` in place, on at most `SAMPLE` images; of others nothing.

    Where no image can be read, m stays as it is.

    Args:
        encoder: trained.
        paths: of the images, of which a sample is spread evenly.
        spec: the preprocessing.
        device: where the backbone runs.
    """
    pooling = encoder.pooling
    if not isinstance(pooling, FloorRationalePooling):
        return
    sample = [paths[position] for position in evenly_spaced(len(paths), SAMPLE)]
    least = []
    with evaluation_mode(encoder):
        normalised = TorchEmbedder(encoder, spec, device).normalised
        for _, pixels in ImageBatches(sample, spec, BATCH_SIZE, core_count()):
            least.append(pooling.response(encoder.features(normalised(pixels)).float()).min())
    if least:
        pooling.floor.copy_(torch.stack(least).min())
