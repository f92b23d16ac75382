"""Neighbours averaged into vectors, against loops; which count, and what stays as it is."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fgembed.model.reading import neighbourhood
from fgembed.model.reading.neighbourhood import with_neighbours


def unit_vectors(count: int, dimensions: int = 8, seed: int = 0) -> Tensor:
    """Few dimensions, so that cosines are high."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dimensions, generator=generator), dim=1)


def by_loops(vectors: Tensor, count: int) -> Tensor:
    others = vectors @ vectors.T - 9 * torch.eye(len(vectors))
    nearest = [set(row.argsort(descending=True)[:count].tolist()) for row in others]
    rows = []
    for i in range(len(vectors)):
        total = vectors[i].clone()
        for j in nearest[i]:
            if i in nearest[j] and others[i, j] > 0:
                total += min(1, float(others[i, j]) / 0.63) ** 5 * vectors[j]
        rows.append(total / total.norm())
    return torch.stack(rows)


@pytest.mark.parametrize(("images", "count"), [(200, 1), (399, 1), (600, 3), (1000, 4)])
def test_mutual_neighbours_are_added_one_for_each_200_images(images: int, count: int):
    vectors = unit_vectors(images)
    expected = by_loops(vectors, min(count, 4))
    torch.testing.assert_close(with_neighbours(vectors, 4), expected, atol=1e-5, rtol=0)
    assert (expected - vectors).abs().max() > 0.1


def test_below_200_images_nothing_is_added():
    vectors = unit_vectors(199)
    assert torch.equal(with_neighbours(vectors, 10), vectors)
    vectors = unit_vectors(400)
    assert torch.equal(with_neighbours(vectors, 0), vectors)


def test_a_neighbour_at_the_cosine_of_equal_weight_meets_the_image_halfway():
    """Two images near each other, all others apart from both."""
    cosine = 0.63
    pair = torch.tensor([[1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]])
    vectors = F.pad(pair, (0, 398))
    vectors = torch.cat([vectors, torch.eye(398, 400).roll(2, dims=1)])
    result = with_neighbours(vectors, 1)
    halfway = F.normalize(vectors[0] + vectors[1], dim=0)
    torch.testing.assert_close(result[:2], halfway.expand(2, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(result[2:], vectors[2:])


def test_a_neighbour_that_has_nearer_ones_does_not_count():
    """The nearest to the image at 60 degrees is that at 10, whose own is at 0."""
    angles = torch.deg2rad(torch.tensor([0.0, 10.0, 60.0]))
    three = torch.stack([angles.cos(), angles.sin()], dim=1)
    vectors = torch.cat([F.pad(three, (0, 300)), torch.eye(300, 302).roll(2, dims=1)])
    result = with_neighbours(vectors, 1)
    torch.testing.assert_close(result[2], vectors[2])
    torch.testing.assert_close(result[0], result[1])  # halfway between both


def test_an_image_that_could_not_be_read_is_no_neighbour_and_stays_zero():
    vectors = unit_vectors(401)
    expected = with_neighbours(vectors[1:], 2)
    vectors[0] = 0
    result = with_neighbours(vectors, 2)
    assert not result[0].any()
    torch.testing.assert_close(result[1:], expected)


def test_copies_of_one_image_stay_it():
    vectors = unit_vectors(1).expand(400, -1)
    torch.testing.assert_close(with_neighbours(vectors, 2), vectors)


def test_the_size_of_the_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    vectors = unit_vectors(450)
    expected = with_neighbours(vectors, 2)
    monkeypatch.setattr(neighbourhood, "ROWS", 64)
    torch.testing.assert_close(with_neighbours(vectors, 2), expected)


def test_more_than_a_part_are_split_into_sets_of_their_own(monkeypatch: pytest.MonkeyPatch):
    vectors = unit_vectors(900)
    monkeypatch.setattr(neighbourhood, "PART", 450)
    result = with_neighbours(vectors, 4)
    torch.testing.assert_close(result[0::2], by_loops(vectors[0::2], 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(result[1::2], by_loops(vectors[1::2], 2), atol=1e-5, rtol=0)
