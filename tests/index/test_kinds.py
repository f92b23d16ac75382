"""Every kind against exact search in numpy, by value."""

import numpy as np
import pytest

from fgembed.index.kinds import KINDS, RECALL_TARGET, search


def unit_vectors(count: int, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    """Clustered, as embeddings are; each seed draws from the same clusters."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(30, dimensions))
    vectors = centres[generator.integers(0, 30, count)] + 0.5 * generator.normal(
        size=(count, dimensions)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)


def exact(queries: np.ndarray, vectors: np.ndarray, ids: np.ndarray, k: int):
    scores = queries @ vectors.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), ids[order]


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("count", [1, 3, 2000])
def test_visiting_everything_equals_exact_search(kind: str, count: int):
    vectors, queries = unit_vectors(count), unit_vectors(20, seed=1)
    ids = np.arange(count, dtype=np.int64) * 7 + 5
    built = KINDS[kind](vectors, ids)
    everything = {"nprobe": built.faiss_index.nlist} if built.parameters else {}
    scores, found = search(built.faiss_index, queries, min(10, count), everything)
    expected_scores, expected = exact(queries, vectors, ids, min(10, count))
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-6)
    assert (found == expected).mean() > 0.99  # equal scores may change places


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_scores_are_cosines_and_a_vector_finds_itself_at_one(kind: str):
    vectors = unit_vectors(2000)
    built = KINDS[kind](vectors, np.arange(2000, dtype=np.int64))
    scores, found = search(built.faiss_index, vectors[:50], 5, built.parameters)
    assert found[:, 0].tolist() == list(range(50))
    np.testing.assert_allclose(scores[:, 0], 1.0, atol=1e-5)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


def test_ivf_is_tuned_to_its_recall_and_says_what_it_measured():
    vectors, queries = unit_vectors(4000), unit_vectors(200, seed=2)
    ids = np.arange(4000, dtype=np.int64)
    built = KINDS["ivf"](vectors, ids)
    _, found = search(built.faiss_index, queries, 10, built.parameters)
    _, expected = exact(queries, vectors, ids, 10)
    recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, expected, strict=True)])
    assert built.recall_at_10 >= RECALL_TARGET
    assert recall == pytest.approx(built.recall_at_10, abs=0.05)
    assert 1 <= built.parameters["nprobe"] < built.faiss_index.nlist
