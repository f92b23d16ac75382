"""Measures of an encoder that need no labels, on the training images."""

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
VIEW_GALLERY = 1024
VIEW_QUERIES = 512
BATCH = 64
# Gentle, and the same for every run. Under the published views, with stronger crops and grey, a
# run that was trained on them retrieves more views even where it retrieves less of a class.
GENTLE = ViewSettings(crop_scale=0.4, jitter=0.2, hue=0.02, grey_probability=0.0)


@dataclass(frozen=True)
class Figures:
    """The three measures without labels; see the functions in `fgembed.evaluation.metrics`."""

    effective_rank: float
    alignment: float
    uniformity: float


def label_free_figures(embedder: TorchEmbedder, images: TrainingImages) -> Figures:
    """Effective rank, alignment and uniformity on a fixed sample of the training images."""
    sample = evenly_spaced(len(images), FIGURE_IMAGES).tolist()
    vectors = embedder([images.paths[index] for index in sample]).vectors
    several = sum(view.ndim == 3 for view in images[0, sample[0]]) > 1
    # A method of one view draws another of the same image in another epoch.
    views = [(0, 0), (0, 1)] if several else [(0, 0), (1, 0)]
    first, second = (_view_vectors(embedder, images, sample, *view) for view in views)
    return Figures(
        effective_rank=metrics.effective_rank(vectors),
        alignment=metrics.alignment(first, second),
        uniformity=metrics.uniformity(vectors),
    )


def score_views(embedder: TorchEmbedder, paths: Sequence[Path], may_mirror: bool = True) -> Vectors:
    """1.0 for each random view whose nearest image is the one it was taken from, else 0.0, (Q,).

    Up to 512 gentle views are searched in a gallery of up to 1,024 plain images. Images and
    views are the same for every encoder.

    Args:
        embedder: whose image is to be nearest.
        paths: the images.
        may_mirror: whether the mirror image shows the same, so that views may be flipped.
    """
    views = GENTLE if may_mirror else GENTLE.model_copy(update={"flip_probability": 0.0})
    sources = [paths[index] for index in evenly_spaced(len(paths), VIEW_GALLERY)]
    images = TrainingImages(sources, TwoViews(views, embedder.spec), embedder.spec, seed=0)
    queries = evenly_spaced(len(sources), VIEW_QUERIES).tolist()
    gallery = embedder(sources)
    nearest = (_view_vectors(embedder, images, queries, 0, 0) @ gallery.vectors.T).argmax(axis=1)
    matches = [
        gallery.paths[row] == sources[query] for row, query in zip(nearest, queries, strict=True)
    ]
    return np.array(matches, dtype=np.float64)


@torch.inference_mode()
def _view_vectors(
    embedder: TorchEmbedder, images: TrainingImages, sample: Sequence[int], epoch: int, view: int
) -> Vectors:
    vectors = []
    for start in range(0, len(sample), BATCH):
        views = torch.stack([images[epoch, index][view] for index in sample[start : start + BATCH]])
        vectors.append(embedder.model.encoder(views.to(embedder.device)))
    return torch.cat(vectors).cpu().numpy()
