"""A layer from a few labels: directions in which images of one class differ count less.

The scatter within classes is shrunk to that of all images, the more the fewer labels there are.
Without labels the layer changes no cosine.
"""

import torch
from torch import Tensor

# Labelled images, beyond the first of each class, that weigh as much as the scatter to which
# that within classes is shrunk: that of all images, with a part that is equal in all directions.
PRIOR = 128
EQUAL = 0.1
SMALLEST = 1e-9  # of the largest eigenvalue


def label_layer(vectors: Tensor, classes: Tensor, unlabelled: Tensor) -> Tensor:
    """The layer (D, D), in float64, that follows an embedding's own last one.

    With W the scatter within classes, of f images beyond the first of each class, and T that of
    all images: S^(-1/2) T^(1/2), where S = (f W + PRIOR T) / (f + PRIOR).

    Args:
        vectors: unit vectors (N, D) of labelled images.
        classes: (N), integers; at least two images share one.
        unlabelled: unit vectors (M, D) of images of any class.

    Example:
        >>> vectors = torch.tensor([[0.1, 1.0], [-0.1, 1.0], [0.1, -1.0], [-0.1, -1.0]])
        >>> layer = label_layer(vectors.repeat(90, 1), torch.tensor([0, 1, 0, 1] * 90), vectors)
        >>> bool(layer[0, 0] > 3 * layer[1, 1])  # the second tells the classes nothing
        True
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
    shrunk = (freedom * within + PRIOR * target) / (freedom + PRIOR)
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
    return (vectors * values.clamp(min=SMALLEST * float(values.max())) ** exponent) @ vectors.T
