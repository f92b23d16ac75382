"""Retrieval metrics: cases worked out by hand."""

import numpy as np
import pytest

from fgembed.evaluation.metrics import (
    alignment,
    bootstrap_interval,
    effective_rank,
    pointing_game,
    score_queries,
    uniformity,
)


def at_angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_one_query_by_hand():
    """Ranking a b b a b for a query of class b with R = 3: relevant at ranks 2, 3 and 5."""
    scores = score_queries(
        at_angles(0), np.array(["b"]), at_angles(1, 2, 3, 4, 5), np.array(list("abbab")),
        ks=(1, 2, 5), neighbours=(1, 3),
    )  # fmt: skip
    assert {k: v.tolist() for k, v in scores.recall.items()} == {1: [0], 2: [1], 5: [1]}
    assert scores.average_precision[0] == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)
    assert scores.map_at_r[0] == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert {k: v.tolist() for k, v in scores.knn.items()} == {1: [0], 3: [1]}


def test_precision_at_10_counts_the_first_ten_hits_and_a_tie_goes_to_the_first_of_the_gallery():
    """Of class b are ranks 2, 3, 8, one of two copies at ranks 10 and 11, and rank 12."""
    gallery = at_angles(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 11)
    queries, asked = at_angles(0, 0), np.array(["b", "z"])
    for copies, right in (("ba", 4), ("ab", 3)):
        labels = np.array(list(f"abbaaaaba{copies}b"))
        scores = score_queries(queries, asked, gallery, labels)
        assert scores.precision_at_10.tolist() == [right / 10, 0]
    rare = score_queries(queries[:1], asked[:1], gallery, np.array(list("baaaaaaaaaab")))
    assert rare.precision_at_10.tolist() == [1 / 10]  # one of two is found, of ten hits


def test_precision_at_10_is_the_share_of_all_hits_where_there_are_fewer():
    vectors, labels = at_angles(0, 1, 2, 90), np.array(["a", "b", "a", "a"])
    scores = score_queries(at_angles(0), np.array(["a"]), vectors, labels)
    assert scores.precision_at_10.tolist() == [3 / 4]
    scores = score_queries(vectors, labels, vectors, labels, leave_one_out=True, chunk=3)
    assert scores.precision_at_10.tolist() == [2 / 3, 0, 2 / 3, 2 / 3]


def test_leave_one_out_leaves_the_query_itself_out():
    vectors, labels = at_angles(0, 1, 90, 91), np.array([0, 1, 1, 1])
    scores = score_queries(vectors, labels, vectors, labels, leave_one_out=True, chunk=3)
    assert scores.recall[1].tolist() == [0, 0, 1, 1]
    assert scores.average_precision[0] == 0.0
    assert scores.average_precision[1] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_perfect_clusters_score_one_and_chunks_do_not_matter():
    vectors, labels = at_angles(*range(10), *range(170, 180)), np.repeat([0, 1], 10)
    for chunk in (3, 100):
        scores = score_queries(vectors, labels, vectors, labels, leave_one_out=True, chunk=chunk)
        for values in (scores.recall[1], scores.average_precision, scores.map_at_r, scores.knn[20]):
            assert values.tolist() == [1.0] * 20
        assert scores.precision_at_10.tolist() == [0.9] * 20  # each has nine others of its class


def test_random_vectors_score_about_one_over_the_number_of_classes():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(1000, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = generator.integers(0, 4, 1000)
    scores = score_queries(vectors, labels, vectors, labels, leave_one_out=True)
    assert scores.recall[1].mean() == pytest.approx(0.25, abs=0.04)


def test_the_knn_vote_is_weighted_by_score():
    """One neighbour at cosine 1 outvotes two at cosine 0.7: e^(10 x 0.3) = 20 > 2."""
    gallery = at_angles(0, 45.57, -45.57)
    scores = score_queries(at_angles(0), np.array([0]), gallery, np.array([0, 1, 1]))
    assert scores.knn[20].tolist() == [1.0]


def test_a_query_whose_class_is_not_in_the_gallery_scores_zero():
    scores = score_queries(at_angles(0), np.array([9]), at_angles(0, 1), np.array([0, 1]))
    values = [scores.recall[1], scores.average_precision, scores.map_at_r, scores.knn[200]]
    assert [v[0] for v in values] == [0, 0, 0, 0]


def test_the_bootstrap_interval_covers_the_binomial_one():
    values = np.repeat([0.0, 1.0], 200)
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.006)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.006)
    assert bootstrap_interval(np.ones(5)) == (1.0, 1.0)


def test_effective_rank_counts_directions():
    corners = np.concatenate([np.eye(4), -np.eye(4)])
    assert effective_rank(corners) == pytest.approx(4.0)
    assert effective_rank(np.ones((6, 4))) == 0.0


def test_alignment_and_uniformity_by_hand():
    right_angle = at_angles(0, 90)
    assert alignment(right_angle, right_angle[::-1]) == pytest.approx(2.0)
    assert uniformity(right_angle) == pytest.approx(-4.0)


def test_the_pointing_game_takes_the_centre_of_the_largest_cell():
    maps = np.zeros((2, 2, 2))
    maps[0, 0, 1] = maps[1, 1, 0] = 1.0
    masks = np.zeros((2, 8, 8), dtype=bool)
    masks[:, 2, 6] = True
    assert pointing_game(maps, masks).tolist() == [True, False]


@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_equal_scores_rank_in_the_order_of_the_gallery_whatever_the_chunk(chunk: int):
    """A matrix product gives a vector other last bits in the last columns than in the first."""
    for count in range(30, 90):
        vectors = np.random.default_rng(count).normal(size=(count, 96)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        gallery = np.concatenate([vectors, vectors])  # each image is there twice, in two classes
        labels = np.array(["first"] * count + ["second"] * count)
        queries = np.full(count, "first")
        scores = score_queries(vectors, queries, gallery, labels, ks=(1,), chunk=chunk)
        assert scores.recall[1].tolist() == [1.0] * count
