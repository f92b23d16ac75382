"""The whitening and the centre of levels, by value."""

import math

import pytest
import torch
import torch.nn.functional as F

from fgembed.errors import FgembedError, IntegrityError
from fgembed.model.multi_level import MultiLevelPooling
from fgembed.model.whitening import Calibration, CovarianceSum, fitted_whitening


def whitened(vectors: torch.Tensor, dimensions: int, shrinkage: float) -> torch.Tensor:
    statistics = CovarianceSum(vectors.shape[1])
    for batch in vectors.split(17):
        statistics.add(batch)
    result: torch.Tensor = statistics.whitening(dimensions, shrinkage)(vectors)
    return result


def correlated(count: int = 500) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(8, 8, generator=generator)
    return torch.randn(count, 8, generator=generator) @ mixing + 5


def test_whitening_without_shrinkage_gives_unit_covariance():
    vectors = whitened(correlated(), 8, shrinkage=0.0)
    torch.testing.assert_close(vectors.mean(dim=0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(vectors.T @ vectors / 500, torch.eye(8), atol=2e-3, rtol=0)


def test_shrinkage_adds_its_share_of_the_mean_of_the_selected_eigenvalues():
    vectors = correlated()
    centred = (vectors - vectors.mean(dim=0)).double()
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / 500).flip(0)
    expected = eigenvalues[:3] / (eigenvalues[:3] + 0.5 * eigenvalues[:3].mean())
    result = whitened(vectors, 3, shrinkage=0.5).double()
    torch.testing.assert_close(result.var(dim=0, correction=0), expected, rtol=1e-3, atol=1e-4)


def test_whitening_of_5_vectors_gives_4_dimensions():
    assert whitened(correlated(5), 8, shrinkage=1.0).shape == (5, 4)
    assert fitted_whitening(correlated(5), 8, shrinkage=1.0)(correlated(5)).shape == (5, 4)


@pytest.mark.parametrize("count", [3, 5, 7, 30])
def test_vectors_in_memory_and_in_batches_give_the_same_whitening_but_for_signs(count: int):
    vectors, unseen = correlated(count), correlated(40)[30:]
    statistics = CovarianceSum(8)
    statistics.add(vectors)
    streamed, in_memory = statistics.whitening(4, 0.5), fitted_whitening(vectors, 4, 0.5)
    torch.testing.assert_close(in_memory.mean, streamed.mean)
    torch.testing.assert_close(
        in_memory(unseen).abs(), streamed(unseen).abs(), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("times", [2, 3, 9])
def test_copies_add_no_direction_and_leave_the_whitening_unchanged(times: int):
    """Both decompositions give the same rank and vectors: 4 images span 3 dimensions."""
    vectors, unseen = correlated(4), correlated(40)[30:]
    once = fitted_whitening(vectors, 8, shrinkage=1.0)(unseen)
    repeated = fitted_whitening(vectors.repeat(times, 1), 8, shrinkage=1.0)(unseen)
    assert once.shape == (10, 3)
    torch.testing.assert_close(repeated @ repeated.T, once @ once.T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("vectors", [correlated(1), correlated(2), correlated(1).repeat(20, 1)])
def test_images_that_do_not_differ_cannot_be_whitened(vectors: torch.Tensor):
    with pytest.raises(
        FgembedError, match=r"needs 3 vectors that differ, and those of .*; add images that"
    ):
        fitted_whitening(vectors, 4, shrinkage=1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_vectors_that_are_not_finite_are_refused(bad: float):
    vectors = correlated(40)
    vectors[7, 3] = bad
    with pytest.raises(IntegrityError, match="not finite"):
        Calibration(None).add(vectors)


@pytest.mark.parametrize("sample", [3, 20, 4096])
def test_a_single_pass_gives_the_whitening_of_joined_vectors(sample, monkeypatch):
    """Centred by the first vectors, at least as many as the sample; all of a small set."""
    monkeypatch.setattr("fgembed.model.whitening.CENTRE_SAMPLE", sample)
    vectors, levels = correlated(40), MultiLevelPooling([2], 4, weight=0.5)
    fit = Calibration(levels)
    for batch in vectors.split(8):
        fit.add(batch)
    whitening = fit.finish(3, shrinkage=1.0)
    seen = min(40, 8 * math.ceil(sample / 8))
    centre = vectors[:seen].mean(dim=0)
    torch.testing.assert_close(levels.centre, centre)
    parts = (vectors - centre).split([4, 4], dim=1)
    joined = torch.cat([0.5 * F.normalize(parts[0], dim=1), F.normalize(parts[1], dim=1)], dim=1)
    exact = CovarianceSum(8)
    exact.add(F.normalize(joined, dim=1))
    assert whitening is not None
    torch.testing.assert_close(whitening.mean, exact.whitening(3, 1.0).mean)
    torch.testing.assert_close(whitening.projection.abs(), exact.whitening(3, 1.0).projection.abs())


def test_with_0_dimensions_levels_are_centred_without_a_whitening():
    vectors, levels = correlated(40), MultiLevelPooling([2], 4, weight=0.5)
    fit = Calibration(levels)
    fit.add(vectors)
    assert fit.finish(0, shrinkage=1.0) is None
    torch.testing.assert_close(levels.centre, vectors.mean(dim=0))


def test_the_last_level_alone_is_whitened_as_unit_vectors():
    vectors = correlated(40)
    fit = Calibration(None)
    fit.add(vectors)
    whitening, exact = fit.finish(3, shrinkage=1.0), CovarianceSum(8)
    exact.add(F.normalize(vectors, dim=1))
    assert whitening is not None
    torch.testing.assert_close(whitening.mean, exact.whitening(3, 1.0).mean)
