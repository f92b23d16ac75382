"""What can be said of an encoder without labels, on the training pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fgembed import metrics
from fgembed.data import TrainingImages
from fgembed.embedding import TorchEmbedder

FIGURE_IMAGES = 256


@dataclass(frozen=True)
class Figures:
    """What can be said without labels (see `fgembed.metrics`)."""

    effective_rank: float
    alignment: float
    uniformity: float


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
