"""Any sequence of changes against a dictionary and numpy, for every kind."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from fgembed.index.changes.compact import compact
from fgembed.index.changes.from_embeddings import add_embeddings
from fgembed.index.changes.remove import remove_ids, remove_paths, remove_where
from fgembed.index.changes.transaction import settings_of
from fgembed.index.format.manifest import Manifest
from fgembed.index.tools.verify import verify
from tests.index.making import (
    EXHAUSTIVE,
    KIND_SETTINGS,
    assert_same_hits,
    exact,
    make_index,
    open_index,
    unit_vectors,
    write_random,
)

# `make proof` runs many more.
EXAMPLES = int(os.environ.get("FGEMBED_EXAMPLES", "6"))
pytestmark = pytest.mark.proof
PHASES = [Phase.explicit, Phase.generate]  # a failure is small enough to read as it is
D = 16
# A tenth is held out, and PCA12 refuses fewer than 12 vectors; of fewer than 10 search is exact.
UNTRAINABLE = {"factory": (10, 11, 12)}

operation = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 90), st.integers(0, 10**6)),
    st.tuples(st.just("remove"), st.integers(1, 60), st.integers(0, 10**6)),
    st.tuples(st.just("remove path"), st.integers(1, 3), st.integers(0, 10**6)),
    st.tuples(st.just("remove where"), st.integers(0, 6), st.integers(0, 2)),
    st.tuples(st.just("compact"), st.just(0), st.just(0)),
    st.tuples(st.just("search"), st.integers(1, 40), st.integers(0, 10**6)),
    st.tuples(st.just("filter"), st.integers(1, 40), st.integers(0, 10**6)),
)


@contextmanager
def small_lists(monkeypatch: pytest.MonkeyPatch):
    """So that a few dozen vectors get a real structure, and filters go through it."""
    with monkeypatch.context() as patched:
        patched.setattr("fgembed.index.segments.kinds.VECTORS_A_LIST", 5)
        patched.setattr("fgembed.index.segments.kinds.FLAT_BYTES", 4 * D * 40)
        patched.setattr("fgembed.index.segments.segment.EXACT_COUNT", 3)
        yield


class Model:
    """The same index as a dictionary of vectors, searched by numpy."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = dict(enumerate(vectors))
        self.next_id = len(vectors)

    def add(self, vectors: np.ndarray) -> None:
        self.vectors |= dict(enumerate(vectors, start=self.next_id))
        self.next_id += len(vectors)

    def sample_ids(self, count: int, seed: int) -> list[int]:
        ids = sorted(self.vectors)
        sample = np.random.default_rng(seed).permutation(ids)[:count]
        return [int(id_) for id_ in sample]

    def search(self, queries: np.ndarray, k: int, keep=lambda number: True):
        ids = np.array([n for n in sorted(self.vectors) if keep(n)], np.int64)
        vectors = np.array([self.vectors[n] for n in ids.tolist()], np.float32).reshape(-1, D)
        return exact(queries, vectors, ids, k)


def check_search(folder: Path, model: Model, kind: str, count: int, seed: int, where: bool) -> None:
    queries = unit_vectors(3, D, seed)
    label, year = f"label {seed % 3}", seed % 7
    condition = f"label = '{label}' and year <= {year}" if where else None

    def keep(number: int) -> bool:
        return not where or (number % 3 == seed % 3 and number % 7 <= year)

    index = open_index(folder)
    result = index.search(queries, count, condition, EXHAUSTIVE)
    expected = model.search(queries, count, keep)
    hits = expected[0].shape[1]
    dense = np.zeros((3, model.next_id), np.float32)
    for number, vector in model.vectors.items():
        dense[:, number] = queries @ vector
    tolerance = 2e-3 if kind.endswith("half") else 1e-5
    assert (result[1][:, hits:] == -1).all()
    cut = (result[0][:, :hits], result[1][:, :hits])
    assert_same_hits(cut, expected, dense, tolerance)
    assert all(keep(number) for number in cut[1].ravel().tolist())


def apply(folder: Path, model: Model, kind: str, name: str, first: int, second: int) -> None:
    if name == "add":
        vectors = unit_vectors(first, D, second)
        with tempfile.TemporaryDirectory(dir=memory()) as temporary:
            imported = write_random(Path(temporary), vectors, model.next_id)
            assert add_embeddings(folder, imported).added == first
        model.add(vectors)
    elif name in ("remove", "remove path"):
        removed = model.sample_ids(first, second)
        if removed and name == "remove":
            assert remove_ids(folder, np.array(removed)).removed == len(removed)
        elif removed:
            paths = [open_index(folder).paths([number])[number] for number in removed]
            assert remove_paths(folder, paths).removed == len(removed)
        for number in removed:
            del model.vectors[number]
    elif name == "remove where":
        condition = f"year = {first} and label = 'label {second}'"
        removed = [n for n in model.vectors if n % 7 == first and n % 3 == second]
        assert remove_where(folder, condition).removed == len(removed)
        for number in removed:
            del model.vectors[number]
    elif name == "compact":
        compact(folder, settings_of(Manifest.read(folder)))
        assert len(Manifest.read(folder).segments) <= 1
    else:
        check_search(folder, model, kind, first, second, name == "filter")


@pytest.mark.parametrize("kind", KIND_SETTINGS)
def test_an_index_does_as_a_dictionary_does(kind: str, monkeypatch: pytest.MonkeyPatch):
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck), phases=PHASES,
    )  # fmt: skip
    @given(
        count=st.integers(1, 200),
        seed=st.integers(0, 10**6),
        operations=st.lists(operation, min_size=15, max_size=15),
    )
    def check(count: int, seed: int, operations) -> None:
        assume(count not in UNTRAINABLE.get(kind, ()))
        with tempfile.TemporaryDirectory(dir=memory()) as temporary, small_lists(monkeypatch):
            folder = Path(temporary, "i")
            vectors = unit_vectors(count, D, seed)
            make_index(folder, vectors, KIND_SETTINGS[kind])
            model = Model(vectors)
            for name, first, second in operations:
                apply(folder, model, kind, name, first, second)
                assert Manifest.read(folder).count == len(model.vectors)
            check_search(folder, model, kind, 40, seed, where=False)
            for number, vector in list(model.vectors.items())[:5]:
                back = open_index(folder).reconstruct(np.array([number]))[0]
                np.testing.assert_allclose(back, vector, atol=1e-3)
            assert verify(folder).problems == []

    check()


def memory() -> str | None:
    """A file system in memory where there is one: syncing to disk is not what this tests."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
