"""What can be said of an encoder without labels, on the training pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fgembed.config import ViewSettings
from fgembed.data.loading import TrainingImages
from fgembed.data.views import TwoViews
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.sampling import evenly_spaced
from fgembed.evaluation import metrics
from fgembed.model.torch_embedder import TorchEmbedder

FIGURE_IMAGES = 256
FOUND_AMONG = 1024
FOUND_VIEWS = 512
# Gentle, and the same whatever a run was trained with: under the published views, with stronger
# crops and grey, runs that were trained on them and find less of a class find more views.
GENTLE = ViewSettings(crop_scale=0.4, jitter=0.2, hue=0.02, grey_probability=0.0)


@dataclass(frozen=True)
class Figures:
    """What can be said without labels (see `fgembed.evaluation.metrics`)."""

    effective_rank: float
    alignment: float
    uniformity: float


def label_free_figures(embedder: TorchEmbedder, images: TrainingImages) -> Figures:
    """Effective rank, alignment and uniformity on a fixed sample of the training pictures."""
    sample = evenly_spaced(len(images), FIGURE_IMAGES).tolist()
    vectors = embedder([images.paths[index] for index in sample]).vectors
    pairs = [_view_vectors(embedder, images, sample, view) for view in (0, 1)]
    return Figures(
        metrics.effective_rank(vectors),
        metrics.alignment(*pairs),
        metrics.uniformity(vectors),
    )


def views_found(embedder: TorchEmbedder, paths: Sequence[Path]) -> Vectors:
    """Whether a random view's nearest picture is its own: 1.0 or 0.0 a view, (Q,).

    A gentle view of up to 512 pictures, looked up among up to 1,024 of them as they are. The
    same pictures and views for every encoder.
    """
    among = [paths[index] for index in evenly_spaced(len(paths), FOUND_AMONG)]
    images = TrainingImages(among, TwoViews(GENTLE, embedder.spec), embedder.spec, seed=0)
    asked = evenly_spaced(len(among), FOUND_VIEWS).tolist()
    gallery = embedder(among)
    nearest = (_view_vectors(embedder, images, asked, 0) @ gallery.vectors.T).argmax(axis=1)
    found = [gallery.paths[row] == among[own] for row, own in zip(nearest, asked, strict=True)]
    return np.array(found, dtype=np.float64)


@torch.inference_mode()
def _view_vectors(
    embedder: TorchEmbedder, images: TrainingImages, sample: Sequence[int], view: int
) -> Vectors:
    vectors = [
        embedder.model.encoder(
            torch.stack([images[0, i][view] for i in sample[k : k + 64]]).to(embedder.device)
        )
        for k in range(0, len(sample), 64)
    ]
    return torch.cat(vectors).cpu().numpy()
