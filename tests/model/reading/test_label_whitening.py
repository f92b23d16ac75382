"""The layer from a few labels: what it removes, and that it removes little with few of them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.model.reading.label_whitening import label_layer, within_classes

CLASSES, DIMENSIONS, NUISANCE = 20, 16, 8


def drawn(images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Unit vectors whose first half varies most, alike in all classes: paint, light and view."""
    centres = 0.5 * torch.randn(CLASSES, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    centres[:, :NUISANCE] = 0
    generator = torch.Generator().manual_seed(seed)
    classes = torch.arange(CLASSES).repeat_interleave(images)
    spread = torch.full((DIMENSIONS,), 0.2)
    spread[:NUISANCE] = 1.0
    noise = spread * torch.randn(len(classes), DIMENSIONS, generator=generator)
    vectors = centres[classes] + noise
    return F.normalize(vectors, dim=1), classes


def recall(layer: Tensor) -> float:
    """Of the first hit, leaving each image itself out."""
    vectors, classes = drawn(10, seed=5)
    read = F.normalize(vectors.double() @ layer, dim=1)
    found = (read @ read.T).fill_diagonal_(-2).argmax(dim=1)
    return float((classes[found] == classes).double().mean())


def test_labels_remove_a_direction_that_does_not_tell_classes_apart():
    vectors, classes = drawn(20, seed=1)
    untouched = torch.eye(DIMENSIONS, dtype=torch.float64)
    layer = label_layer(vectors, classes, vectors)
    assert recall(layer) > recall(untouched) + 0.2


def test_classes_without_labels_gain_as_well():
    vectors, classes = drawn(20, seed=1)
    labelled = classes < CLASSES // 2
    layer = label_layer(vectors[labelled], classes[labelled], vectors)
    assert recall(layer) > recall(torch.eye(DIMENSIONS, dtype=torch.float64)) + 0.1


def test_with_two_labelled_images_the_embedding_stays_nearly_as_it_is():
    unlabelled, classes = drawn(20, seed=1)
    two = (classes == 3).nonzero()[:2, 0]
    layer = label_layer(unlabelled[two], classes[two], unlabelled)
    read = F.normalize(unlabelled.double() @ layer, dim=1)
    cosines = (read * unlabelled.double()).sum(dim=1)
    assert float(cosines.min()) > 0.995


def test_images_of_one_class_that_are_equal_change_nothing():
    unlabelled, _ = drawn(5, seed=1)
    equal = unlabelled[:2].repeat_interleave(2, dim=0)
    layer = label_layer(equal, torch.tensor([0, 0, 1, 1]), unlabelled)
    assert torch.equal(layer, torch.eye(DIMENSIONS, dtype=torch.float64))


def test_the_scatter_within_classes_is_that_of_half_the_differences_of_pairs():
    vectors, _ = drawn(2, seed=2)
    exact = vectors.double()
    scatter, freedom = within_classes(exact, torch.arange(CLASSES).repeat_interleave(2) * 7)
    differences = exact[::2] - exact[1::2]
    assert freedom == CLASSES
    torch.testing.assert_close(scatter, differences.T @ differences / 2 / CLASSES)
