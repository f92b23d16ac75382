"""FAISS's number of threads, which no test of the reaches into FAISS may change."""

from collections.abc import Iterator

import faiss
import pytest


@pytest.fixture
def thread_count() -> Iterator[int]:
    """FAISS's number of threads in this thread, which no test may change."""
    before = faiss.omp_get_max_threads()
    yield before
    assert faiss.omp_get_max_threads() == before
