"""Fits an encoder's last layer to a few labelled images, after the fit without labels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fgembed.embedding.bulk import Embedded
from fgembed.errors import FgembedError
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.reading.label_whitening import label_layer
from fgembed.model.torch_embedder import TorchEmbedder
from fgembed.training.labels.label_groups import LabelGroups


@torch.inference_mode()
def fit_labels(
    encoder: Encoder,
    labels: LabelGroups,
    spec: Preprocessing,
    device: torch.device,
    pooled: Tensor,
) -> None:
    """Multiplies the label layer into the encoder's last one: the embedding costs the same.

    Args:
        encoder: fitted without labels; its last layer is changed in place.
        labels: the images of each class.
        spec: the preprocessing.
        device: where the backbone runs.
        pooled: (N, P) vectors of training images, to which the encoder was fitted.

    Raises:
        FgembedError: labelled images cannot be read any more.
    """
    whitening = encoder.whitening
    assert whitening is not None  # invariant: LabelGroups refuses settings without it
    paths = [path for group in labels.groups for path in group]
    embedded = TorchEmbedder(encoder, spec, device)(paths)
    vectors, classes = torch.from_numpy(embedded.vectors), _classes(labels, embedded)
    if len(classes) == len(set(classes.tolist())):
        raise FgembedError(
            f"only {len(embedded.paths)} of {len(paths)} labelled images can be read any more",
            "put the others back, and resume the run",
        )
    unlabelled = encoder.finish(pooled.to(device)).cpu()
    layer = label_layer(vectors, torch.from_numpy(classes), unlabelled)
    projection = whitening.projection.double().cpu() @ layer
    whitening.projection.copy_(projection)


def _classes(labels: LabelGroups, embedded: Embedded) -> NDArray[np.int64]:
    number = {path: position for position, group in enumerate(labels.groups) for path in group}
    return np.array([number[path] for path in embedded.paths], dtype=np.int64)
