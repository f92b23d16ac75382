"""FAISS's files: written whole, mapped as they were written, and read within limits of memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest

from fgembed.index.segments import faiss_memory
from tests.index.making import unit_vectors
from tests.index.segments.factories import inner_product

pytestmark = pytest.mark.usefixtures("thread_count")


def test_an_index_is_mapped_as_it_was_written(tmp_path: Path):
    vectors, queries = unit_vectors(2000), unit_vectors(5, seed=1)
    index = inner_product("PCA12,IVF4,SQ8", vectors)
    faiss_memory.write_index(index, tmp_path / "i.faiss")
    copy = faiss_memory.read_index(tmp_path / "i.faiss")
    for mine, expected in zip(copy.search(queries, 7), index.search(queries, 7), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_a_full_disk_is_an_error_that_names_the_file():
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    index = inner_product("Flat", unit_vectors(10))
    with pytest.raises(OSError, match=r"No space left.*/dev/full"):
        faiss_memory.write_index(index, Path("/dev/full"))


def test_reads_that_overlap_leave_the_process_its_own_limits():
    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()

    def read(number: int) -> int:
        with faiss_memory.bounded_allocation(number << 26):
            return int(faiss.get_deserialization_vector_byte_limit())

    with ThreadPoolExecutor(8) as pool:
        limits = list(pool.map(read, range(1, 200)))
    assert limits == [4 * (number << 26) for number in range(1, 200)]
    after = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    assert after == before


def test_a_file_may_not_ask_for_more_memory_than_it_can_fill(tmp_path: Path):
    limits = faiss.get_deserialization_vector_byte_limit, faiss.get_deserialization_loop_limit
    before = [limit() for limit in limits]
    with faiss_memory.bounded_allocation(100 << 20):
        assert [limit() for limit in limits] == [400 << 20] * 2
    with faiss_memory.bounded_allocation(100):
        assert [limit() for limit in limits] == [64 << 20] * 2
    assert [limit() for limit in limits] == before
    faiss_memory.write_index(inner_product("Flat", unit_vectors(10)), tmp_path / "i.faiss")
    data = (tmp_path / "i.faiss").read_bytes()
    length = (240).to_bytes(8, "little")  # floats
    assert data.count(length) == 1
    (tmp_path / "i.faiss").write_bytes(data.replace(length, (1 << 40).to_bytes(8, "little")))
    with pytest.raises((RuntimeError, MemoryError)):
        faiss_memory.read_index(tmp_path / "i.faiss")
    assert [limit() for limit in limits] == before
