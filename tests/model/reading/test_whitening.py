"""The principal directions of vectors and the whitening along them, by value."""

import numpy as np
import pytest
import torch

from fgembed.model.reading.whitening import Spectrum, TooFewDirectionsError


def whitened(vectors: torch.Tensor, dimensions: int, shrinkage: float) -> torch.Tensor:
    spectrum = Spectrum.of(vectors, dimensions)
    return (vectors.double() - spectrum.mean) @ spectrum.whitening(shrinkage)


def correlated(count: int = 500) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(8, 8, generator=generator)
    return torch.randn(count, 8, generator=generator) @ mixing + 5


def test_whitening_without_shrinkage_gives_unit_covariance():
    vectors = whitened(correlated(), 8, shrinkage=0.0)
    torch.testing.assert_close(vectors.mean(dim=0), torch.zeros(8).double())
    torch.testing.assert_close(vectors.T @ vectors / 500, torch.eye(8).double())


def test_shrinkage_adds_its_share_of_the_mean_of_the_selected_eigenvalues():
    vectors = correlated()
    centred = (vectors - vectors.mean(dim=0)).double()
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / 500).flip(0)
    expected = eigenvalues[:3] / (eigenvalues[:3] + 0.5 * eigenvalues[:3].mean())
    result = whitened(vectors, 3, shrinkage=0.5)
    torch.testing.assert_close(result.var(dim=0, correction=0), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [3, 5, 7, 8, 9, 30])
def test_few_and_many_vectors_give_the_singular_vectors_of_the_centred_ones(count: int):
    """Fewer vectors than dimensions are decomposed by their products, more by their covariance."""
    vectors = correlated(count)
    exact = vectors.double().numpy()
    _, singular, rows = np.linalg.svd(exact - exact.mean(axis=0))
    rank = min(count - 1, 8)
    spectrum = Spectrum.of(vectors, 8)
    np.testing.assert_allclose(spectrum.mean, exact.mean(axis=0))
    np.testing.assert_allclose(spectrum.eigenvalues, singular[:rank] ** 2 / count, rtol=1e-6)
    np.testing.assert_allclose(spectrum.directions.abs().T, abs(rows[:rank]), rtol=1e-5, atol=1e-8)


def test_5_vectors_have_4_directions():
    assert whitened(correlated(5), 8, shrinkage=1.0).shape == (5, 4)


@pytest.mark.parametrize("times", [2, 3, 9])
def test_copies_add_no_direction_and_leave_the_whitening_unchanged(times: int):
    """Both decompositions give the same rank and vectors: 4 images span 3 dimensions."""
    vectors, unseen = correlated(4), correlated(40)[30:].double()
    once = Spectrum.of(vectors, 8)
    repeated = Spectrum.of(vectors.repeat(times, 1), 8)
    assert once.whitening(1.0).shape == repeated.whitening(1.0).shape == (8, 3)
    first, second = (
        (unseen - spectrum.mean) @ spectrum.whitening(1.0) for spectrum in (once, repeated)
    )
    torch.testing.assert_close(second @ second.T, first @ first.T, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("vectors", [correlated(1), correlated(2), correlated(1).repeat(20, 1)])
def test_images_that_do_not_differ_have_no_directions(vectors: torch.Tensor):
    with pytest.raises(
        TooFewDirectionsError, match=r"needs 3 vectors that differ, and those of .*; add images"
    ):
        Spectrum.of(vectors, 4)
