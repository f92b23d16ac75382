"""The last layer that is fitted to a set, against NumPy."""

import math

import numpy as np
import pytest
import torch

from fgembed.config import PoolingSettings
from fgembed.embedding.array_types import Vectors
from fgembed.model.reading.fitting import FitSettings, fitted_layer

LEVELS, BESIDE = 6, 4
WHITENING = FitSettings(dimensions=32, shrinkage=0.5, mean_weight=0, larger=1)


def correlated(dimensions: int, count: int = 60, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=generator)
    return torch.randn(count, dimensions, generator=generator) @ mixing + 1


def products(
    vectors: torch.Tensor, whitened: int, settings: FitSettings, larger: torch.Tensor | None = None
) -> Vectors:
    """(N, N) of what the layer gives for the vectors that it is fitted to."""
    given = fitted_layer(vectors, whitened, settings, larger)(vectors).double()
    found: Vectors = (given @ given.T).numpy()
    return found


def by_hand(vectors: torch.Tensor, shrinkage: float) -> Vectors:
    """Whitened along all principal directions."""
    exact = vectors.double().numpy()
    centred: Vectors = exact - exact.mean(axis=0)
    eigenvalues, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    shrunk = eigenvalues + shrinkage * eigenvalues.mean()
    result: Vectors = centred @ directions / np.sqrt(shrunk)
    return result


def test_the_settings_of_a_run_are_taken_by_their_meaning():
    settings = PoolingSettings(whitening=7, shrinkage=2, mean_weight=0.5, larger=2, ridge=0.3)
    assert FitSettings.of(settings) == FitSettings(7, 2, 0.5, 2, 0.3)
    assert FitSettings.of(PoolingSettings()) == FitSettings()


@pytest.mark.parametrize(
    ("side", "larger", "expected"),
    [
        (160, 1.4, 224),
        (224, 1.4, 320),
        (64, 1.4, 96),
        (224, 1, 224),
        (100, 1, 100),
        (4000, 1.4, 4096),
    ],
)
def test_the_larger_side_is_a_multiple_of_32(side: int, larger: float, expected: int):
    assert FitSettings(larger=larger).larger_side(side) == expected


def test_without_mean_and_larger_size_it_is_the_whitening():
    vectors = correlated(LEVELS)
    layer = fitted_layer(vectors, LEVELS, WHITENING)
    assert layer.projection.shape == (LEVELS, LEVELS)
    expected = by_hand(vectors, 0.5)
    np.testing.assert_allclose(
        products(vectors, LEVELS, WHITENING), expected @ expected.T, atol=1e-5
    )
    torch.testing.assert_close(layer.mean, vectors.mean(dim=0))


def test_a_mean_of_weight_0_is_not_read():
    vectors = correlated(LEVELS + BESIDE)
    layer = fitted_layer(vectors, LEVELS, WHITENING)
    assert not layer.projection[LEVELS:].any()
    expected = by_hand(vectors[:, :LEVELS], 0.5)
    np.testing.assert_allclose(
        products(vectors, LEVELS, WHITENING), expected @ expected.T, atol=1e-5
    )


def with_mean(vectors: torch.Tensor, weight: float) -> Vectors:
    """Products of the whitened levels plus those of the mean, each of mean square length 1."""
    levels = by_hand(vectors[:, :LEVELS], 0.5)
    mean = vectors[:, LEVELS:].double().numpy()
    mean = mean - mean.mean(axis=0)
    of_levels, of_mean = levels @ levels.T, mean @ mean.T
    of_both: Vectors = (
        of_levels / of_levels.diagonal().mean() + weight * of_mean / of_mean.diagonal().mean()
    )
    return of_both


@pytest.mark.parametrize("weight", [0.7, 2.0])
def test_with_the_mean_beside_the_products_of_both_parts_are_added(weight: float):
    vectors = correlated(LEVELS + BESIDE)
    settings = FitSettings(32, shrinkage=0.5, mean_weight=weight)
    assert fitted_layer(vectors, LEVELS, settings).projection.shape == (10, 10)
    np.testing.assert_allclose(
        products(vectors, LEVELS, settings), with_mean(vectors, weight), atol=1e-5
    )


def test_fewer_dimensions_are_the_principal_ones_of_both_parts():
    vectors = correlated(LEVELS + BESIDE)
    settings = FitSettings(3, shrinkage=0.5, mean_weight=0.7)
    eigenvalues, directions = np.linalg.eigh(with_mean(vectors, 0.7))
    expected = directions[:, -3:] * eigenvalues[-3:] @ directions[:, -3:].T
    np.testing.assert_allclose(products(vectors, LEVELS, settings), expected, atol=1e-5)


def test_a_last_map_that_is_zero_for_every_image_leaves_the_levels_alone():
    vectors = torch.cat([correlated(LEVELS), torch.zeros(60, BESIDE)], dim=1)
    settings = FitSettings(32, shrinkage=0.5, mean_weight=1)
    levels = by_hand(vectors[:, :LEVELS], 0.5)
    expected = levels @ levels.T
    expected /= expected.diagonal().mean()
    np.testing.assert_allclose(products(vectors, LEVELS, settings), expected, atol=1e-5)


@pytest.mark.parametrize("ridge", [0.05, 0.2, 3.0])
def test_the_vectors_are_regressed_to_unit_vectors_of_both_sizes(ridge: float):
    vectors = correlated(LEVELS)
    larger = vectors + 0.5 * correlated(LEVELS, seed=1)
    both = [by_hand(seen, 0.5) for seen in (vectors, larger)]
    targets = np.hstack([part / np.linalg.norm(part, axis=1, keepdims=True) for part in both])
    inputs = vectors.double().numpy()
    inputs -= inputs.mean(axis=0)
    covariance = inputs.T @ inputs / len(inputs)
    penalty = ridge * np.trace(covariance) / LEVELS * np.eye(LEVELS)
    together = inputs.T @ (targets - targets.mean(axis=0)) / len(inputs)
    regressed = inputs @ np.linalg.inv(covariance + penalty) @ together
    settings = FitSettings(32, shrinkage=0.5, mean_weight=0, ridge=ridge)
    found = products(vectors, LEVELS, settings, larger)
    np.testing.assert_allclose(found, regressed @ regressed.T, atol=1e-5)


def test_targets_are_predicted_as_they_are_whatever_their_number_of_dimensions():
    vectors, targets = correlated(LEVELS).double(), correlated(3, seed=1).double()
    layer = fitted_layer(vectors, LEVELS, FitSettings(2, ridge=0.3), targets=targets)
    inputs = (vectors - vectors.mean(dim=0)).numpy()
    covariance = inputs.T @ inputs / len(inputs)
    penalty = 0.3 * np.trace(covariance) / LEVELS * np.eye(LEVELS)
    together = inputs.T @ (targets - targets.mean(dim=0)).numpy() / len(inputs)
    expected = np.linalg.solve(covariance + penalty, together)
    np.testing.assert_allclose(layer.projection.numpy(), expected, atol=1e-5)
    torch.testing.assert_close(layer.mean.double(), vectors.mean(dim=0))


def test_what_changes_with_the_size_counts_less_than_what_both_share():
    """One dimension is the same at both sizes, one differs; both have unit variance."""
    shared, at_one, at_other = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    vectors, larger = torch.stack([shared, at_one], dim=1), torch.stack([shared, at_other], dim=1)
    settings = FitSettings(4, shrinkage=0, mean_weight=0, ridge=0.25)
    layer = fitted_layer(vectors, 2, settings, larger)
    # Of a unit vector in a random direction of the plane: E[x^2 / |x|] = sqrt(pi / 8).
    once = math.sqrt(math.pi / 8) / 1.25
    expected = torch.tensor([once * math.sqrt(2), once])
    torch.testing.assert_close(layer.projection.norm(dim=1), expected, atol=0.05, rtol=0)
