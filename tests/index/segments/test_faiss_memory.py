"""Each reach into FAISS's memory does what its name says with the FAISS that is installed."""

import ast
import gc
from pathlib import Path

import faiss
import numpy as np
import pytest

from fgembed.index.segments import faiss_memory
from tests.index.making import exact, unit_vectors
from tests.index.segments.factories import inner_product

pytestmark = pytest.mark.usefixtures("thread_count")
ROOT = Path(__file__).parents[3]
# Names of FAISS's Python module that handle memory, C pointers, files or process-wide state.
REACHING = {
    "swig_ptr", "rev_swig_ptr", "vector_to_array", "copy_array_to_vector", "memcpy", "disown",
    "own_fields", "search_preassigned_c", "create_view", "downcast_VectorTransform",
    "PyCallbackIOWriter",
    "PyCallbackIOReader", "omp_set_num_threads", "omp_get_max_threads", "IDSelectorBitmap",
    "read_index", "neighbors", "offsets", "levels", "entry_point", "nb_neighbors",
    "set_deserialization_vector_byte_limit", "set_deserialization_loop_limit",
}  # fmt: skip


def test_nothing_else_reaches_into_faiss():
    files = [
        file
        for top in ("fgembed", "index", "cli", "export")
        for file in (ROOT / top).rglob("*.py")
        if "import faiss\n" in file.read_text() and file.name != "faiss_memory.py"
    ]
    assert len(files) > 3
    reaches = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.attr}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in REACHING
        # The function of the same name in faiss_memory.
        and ast.unparse(node.value) != "faiss_memory"
    ]
    assert reaches == []


@pytest.mark.parametrize("store", ["float32", "float16"])
def test_a_flat_view_searches_the_arrays_own_memory(store: str):
    array = unit_vectors(200).astype(store)
    view = faiss_memory.flat_view(array)
    queries = unit_vectors(4, seed=1)
    scores, positions = view.search(queries, 3)
    expected = exact(queries, array.astype(np.float32), np.arange(200), 3)
    np.testing.assert_allclose(scores, expected[0], atol=1e-5)
    assert positions.tolist() == expected[1].tolist()
    array[7] = queries[0]
    assert view.search(queries[:1], 1)[1].tolist() == [[7]]
    assert faiss_memory.flat_view(array[:0]).ntotal == 0


@pytest.mark.parametrize("count", [1, 8, 13])
def test_a_selector_allows_the_positions_that_are_true(count: int):
    allowed = np.arange(count) % 3 == 0
    selector = faiss_memory.selector_of(allowed)
    gc.collect()  # the selector must keep the bits alive
    assert [selector.is_member(position) for position in range(count)] == allowed.tolist()


def test_transforms_come_in_the_order_of_their_application():
    vectors = unit_vectors(300)
    index = inner_product("PCA12,L2norm,Flat", vectors)
    transforms = faiss_memory.transforms_of(index)
    assert [type(transform) for transform in transforms] == [
        faiss.PCAMatrix,
        faiss.NormalizationTransform,
    ]
    transformed = vectors[:5]
    for transform in transforms:
        transformed = transform.apply(transformed)
    stored = faiss.downcast_index(index.index).reconstruct_n(0, 5)
    np.testing.assert_allclose(transformed, stored, atol=1e-6)


def test_only_the_requested_lists_and_the_allowed_positions_are_searched():
    vectors, queries = unit_vectors(400), unit_vectors(3, seed=1)
    inverted = inner_product("IVF8,Flat", vectors)
    centroids = faiss.downcast_index(inverted.quantizer).reconstruct_n(0, 8)
    list_of = np.argmax(vectors @ centroids.T, axis=1)
    lists = np.array([[0, 3], [5, 1], [7, 2]])
    cosines = np.take_along_axis(queries @ centroids.T, lists, axis=1)
    allowed = np.arange(400) % 2 == 0
    parameters = faiss.SearchParametersIVF(nprobe=2, sel=faiss_memory.selector_of(allowed))
    scores, positions = faiss_memory.search_lists(inverted, queries, lists, cosines, 4, parameters)
    for row in range(3):
        members = np.flatnonzero(np.isin(list_of, lists[row]) & allowed)
        expected = exact(queries[row : row + 1], vectors[members], members, 4)
        assert positions[row].tolist() == expected[1][0].tolist()
        np.testing.assert_allclose(scores[row], expected[0][0], atol=1e-6)


def test_arrays_of_the_wrong_shape_never_reach_c():
    vectors = unit_vectors(100)
    inverted = inner_product("IVF4,Flat", vectors)
    parameters = faiss.SearchParametersIVF(nprobe=2)
    lists, scores = np.zeros((3, 2), np.int64), np.zeros((3, 2), np.float32)
    for queries, query_lists, list_scores in (
        (vectors[:3, :23], lists, scores),
        (vectors[:4], lists, scores),
        (vectors[:3], lists[:, :1], scores),
        (vectors[:3], lists, scores[:, :1]),
    ):
        with pytest.raises(ValueError, match="queries"):
            faiss_memory.search_lists(inverted, queries, query_lists, list_scores, 5, parameters)


def test_a_replaced_quantizer_lives_as_long_as_its_inverted_file():
    vectors, queries = unit_vectors(400), unit_vectors(5, seed=1)
    inverted = inner_product("IVF8,Flat", vectors)
    before = inverted.search(queries, 5)
    quantizer = faiss.IndexFlatIP(24)
    quantizer.add(faiss.downcast_index(inverted.quantizer).reconstruct_n(0, 8))
    faiss_memory.replace_quantizer(inverted, quantizer)
    assert not quantizer.thisown
    del quantizer
    gc.collect()
    after = inverted.search(queries, 5)
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    assert inverted.own_fields


def test_a_graph_without_vectors_borrows_them(tmp_path: Path):
    vectors = unit_vectors(300)
    graph = inner_product("HNSW8", vectors)
    expected = graph.search(vectors[:5], 3)
    sizes = {}
    for with_storage in (True, False):
        file = tmp_path / f"{with_storage}.faiss"
        faiss_memory.write_index(graph, file, with_storage)
        sizes[with_storage] = file.stat().st_size
    assert sizes[True] - sizes[False] == pytest.approx(vectors.nbytes, abs=200)
    bare = faiss_memory.read_index(tmp_path / "False.faiss")
    assert bare.storage is None
    storage = faiss_memory.flat_view(vectors)
    faiss_memory.borrow_storage(bare, storage)
    np.testing.assert_array_equal(bare.search(vectors[:5], 3)[1], expected[1])
    del bare
    gc.collect()
    assert storage.search(vectors[:1], 1)[1].tolist() == [[0]]  # not deleted with the graph


def test_the_links_of_a_graph_are_faiss_own_memory():
    vectors = unit_vectors(300)
    graph = faiss.IndexHNSWFlat(24, 8, faiss.METRIC_INNER_PRODUCT)
    graph.add(vectors)
    entry, width = faiss_memory.graph_entry(graph), faiss_memory.graph_width(graph)
    offsets, levels = faiss_memory.graph_offsets(graph), faiss_memory.graph_levels(graph)
    links = faiss_memory.graph_links(graph)
    assert width == 16  # 2 M on level 0, M on each level above
    assert np.diff(offsets).tolist() == (16 + 8 * (levels[:-1] - 1)).tolist()
    assert len(links) == offsets[-1] + 16 + 8 * (levels[-1] - 1)
    assert levels[entry] == levels.max() > 1
    assert links.min() == -1
    assert links.max() == 299
    links[links == 137] = -1  # as a free link, behind which FAISS reads no more
    parameters = faiss.SearchParametersHNSW(efSearch=1000)
    _, positions = graph.search(vectors[137:138], 300, params=parameters)
    assert 137 not in positions


def test_an_empty_graph_has_no_entry():
    graph = faiss.IndexHNSWFlat(24, 8, faiss.METRIC_INNER_PRODUCT)
    assert faiss_memory.graph_entry(graph) == -1
    assert len(faiss_memory.graph_offsets(graph)) == len(faiss_memory.graph_links(graph)) == 0
