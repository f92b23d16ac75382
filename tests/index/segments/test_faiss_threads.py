"""FAISS's number of threads is a thread's own and is restored."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import pytest

from fgembed.index.segments.faiss_memory import faiss_threads
from tests.index.making import KIND_SETTINGS, make_index, unit_vectors

pytestmark = pytest.mark.usefixtures("thread_count")


def test_the_number_of_threads_is_restored_even_after_an_error(thread_count: int):
    with faiss_threads(thread_count + 2):
        assert faiss.omp_get_max_threads() == thread_count + 2
        with faiss_threads(1):
            assert faiss.omp_get_max_threads() == 1
        assert faiss.omp_get_max_threads() == thread_count + 2
    assert faiss.omp_get_max_threads() == thread_count
    with pytest.raises(KeyError), faiss_threads(thread_count + 1):
        raise KeyError
    assert faiss.omp_get_max_threads() == thread_count


def test_threads_that_overlap_do_not_see_each_others_number(thread_count: int):
    """The first to enter is the first to leave, where a global number would stay wrong."""
    both_inside, first_left = threading.Barrier(2), threading.Event()

    def first() -> list[int]:
        faiss.omp_set_num_threads(5)
        with faiss_threads(1):
            both_inside.wait(10)
            inside = faiss.omp_get_max_threads()
        after = faiss.omp_get_max_threads()
        first_left.set()
        return [inside, after]

    def second() -> list[int]:
        faiss.omp_set_num_threads(7)
        with faiss_threads(3):
            both_inside.wait(10)
            first_left.wait(10)
            inside = faiss.omp_get_max_threads()
        return [inside, faiss.omp_get_max_threads()]

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(first), pool.submit(second)]
        assert [result.result() for result in results] == [[1, 5], [3, 7]]


@pytest.mark.parametrize("queries", [1, 30])
def test_a_search_leaves_a_users_number_of_threads(
    queries: int, thread_count: int, tmp_path: Path, small_lists
):
    """Also a build and its tuning do."""
    with faiss_threads(thread_count + 3):
        index = make_index(tmp_path / "i", unit_vectors(300), KIND_SETTINGS["ivfpq"])
        assert index.segments[0].structure is not None
        assert faiss.omp_get_max_threads() == thread_count + 3
        index.search(unit_vectors(queries, seed=1), 5)
        assert faiss.omp_get_max_threads() == thread_count + 3
