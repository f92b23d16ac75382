"""A layer from a few labels: directions in which images of one class differ count less.

The scatter within classes is shrunk to that of all images, the more the fewer labels there are.
Without labels the layer changes no cosine.
"""

import torch
from torch import Tensor

# Labelled images, beyond the first of each class, that weigh as much as what the scatter within
# classes is shrunk to. With `FEW` of them it weighs twice as much: their scatter is mostly chance.
PRIOR = 128
FEW = 32
EQUAL = 0.2  # share of that, in which all directions are alike; the rest is of all images
SMALLEST = 1e-9  # of the largest eigenvalue


def label_layer(vectors: Tensor, classes: Tensor, unlabelled: Tensor) -> Tensor:
    """The layer (D, D), in float64, that follows an embedding's own last one.

    It is S^(-1/2) T^(1/2), where S = (f W + k T) / (f + k): W is the scatter within classes, of f
    images beyond the first of each class; T is that of all images, with a share that is equal in
    all directions, and k = PRIOR (1 + FEW / f). Both have the same trace.

    Args:
        vectors: unit vectors (N, D) of labelled images.
        classes: (N), integers; at least two images share one.
        unlabelled: unit vectors (M, D) of images of any class.

    Example:
        >>> vectors = torch.tensor([[0.1, 1.0], [-0.1, 1.0], [0.1, -1.0], [-0.1, -1.0]])
        >>> layer = label_layer(vectors.repeat(90, 1), torch.tensor([0, 1, 0, 1] * 90), vectors)
        >>> layer  # the second tells the classes nothing
        tensor([[1.8888, 0.0000],
                [0.0000, 0.9591]], dtype=torch.float64)
    """
    within, freedom = within_classes(vectors.double(), classes)
    centred = unlabelled.double() - unlabelled.double().mean(dim=0)
    total = centred.T @ centred / len(centred)
    size = total.trace()
    if not float(size) > 0 or not float(within.trace()) > 0:
        return torch.eye(len(total), dtype=torch.float64)
    equal = size / len(total) * torch.eye(len(total), dtype=torch.float64)
    target = EQUAL * equal + (1 - EQUAL) * total
    within = within * (size / within.trace())
    prior = PRIOR * (1 + FEW / freedom)
    shrunk = (freedom * within + prior * target) / (freedom + prior)
    return _power(shrunk, -0.5) @ _power(target, 0.5)


def within_classes(vectors: Tensor, classes: Tensor) -> tuple[Tensor, int]:
    """The scatter (D, D) within classes, and how many images it has beyond the first of each.

    Args:
        vectors: (N, D).
        classes: (N), integers; at least two images share one.
    """
    _, number, counts = torch.unique(classes, return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, number, vectors)
    differences = vectors - (sums / counts[:, None])[number]
    freedom = len(vectors) - len(counts)
    return differences.T @ differences / freedom, freedom


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    scaled: Tensor = vectors * values.clamp(min=SMALLEST * float(values.max())) ** exponent
    power: Tensor = scaled @ vectors.T
    return power
