"""The tuner on a search whose recall and time are known exactly."""

from pathlib import Path

import numpy as np
import pytest

from fgembed.index.changes.retune import retune
from fgembed.index.segments.faiss_index import Parameters
from fgembed.index.segments.segment_builder import IndexSettings
from fgembed.index.segments.tuning import K_FACTORS, recall, single_query_ms, tune
from tests.index.making import make_index, unit_vectors

QUERIES = 60
LIST_SECONDS = 0.25  # of a query; a power of two, so that sums are exact


class ScriptedSearch:
    """A structure with 16 lists: nprobe of them give nprobe/8 of a query's neighbours.

    A k_factor of 2 or more doubles that. Time is a clock that only a search moves.
    """

    lists = 16
    is_graph = False

    def __init__(self, compresses: bool = False, k_factor_seconds: float = 0.0) -> None:
        self.compresses = compresses
        self.k_factor_seconds = k_factor_seconds
        self.queries = np.random.default_rng(0).normal(size=(QUERIES, 4)).astype(np.float32)
        self.exact = np.tile(1 - 0.01 * np.arange(10), (QUERIES, 1)).astype(np.float32)
        self.searched: dict[int, set[int]] = {}  # rows of `queries`, by nprobe
        self.hard: set[int] = set()  # rows that need twice as many lists
        self.seconds = 0.0

    def search(self, batch: np.ndarray, k: int, parameters: Parameters) -> np.ndarray:
        nprobe, k_factor = parameters["nprobe"], parameters.get("k_factor", 1)
        rows = [int(np.flatnonzero((self.queries == query).all(axis=1))[0]) for query in batch]
        self.searched.setdefault(nprobe, set()).update(rows)
        scores = np.full((len(batch), k), -np.inf)
        for index, row in enumerate(rows):
            share = nprobe * min(2, k_factor) / (16 if row in self.hard else 8)
            hits = min(k, round(k * share))
            scores[index, :hits] = self.exact[row, :hits]
        self.seconds += (LIST_SECONDS * nprobe + self.k_factor_seconds * k_factor) * len(batch)
        return scores

    def clock(self) -> float:
        return self.seconds


def tuned(scripted: ScriptedSearch, recall_target: float):
    return tune(
        scripted,  # type: ignore[arg-type]
        scripted.search,
        scripted.queries,
        scripted.exact,
        recall_target,
        scripted.clock,
    )


def test_the_fastest_setting_that_reaches_the_recall_is_taken():
    scripted = ScriptedSearch()
    result = tuned(scripted, 0.5)
    assert result.parameters == {"nprobe": 4}
    assert result.measured.recall_at_10 == pytest.approx(0.5)
    assert tuned(scripted, 0.9).parameters == {"nprobe": 8}


@pytest.mark.parametrize(
    ("k_factor_seconds", "parameters"),
    [
        (0.125, {"nprobe": 4, "k_factor": 2}),  # 1.25 s a query, with a k_factor of 1 2.125 s
        (4.0, {"nprobe": 8, "k_factor": 1}),  # 6 s a query, with a k_factor of 2 9 s
    ],
)
def test_of_settings_that_reach_the_recall_the_clock_decides(
    k_factor_seconds: float, parameters: Parameters
):
    result = tuned(ScriptedSearch(True, k_factor_seconds), 0.9)
    assert result.parameters == parameters
    assert {point.parameters["k_factor"] for point in result.points} == set(K_FACTORS)


def test_times_are_those_of_a_query_in_a_batch_and_of_a_query_alone():
    scripted = ScriptedSearch()
    result = tuned(scripted, 0.9)
    times = {point.parameters["nprobe"]: point.batch_query_ms for point in result.points}
    assert times == {n: 1000 * LIST_SECONDS * n for n in (1, 2, 4, 8)}
    assert result.measured.query_ms == 1000 * LIST_SECONDS * 8


def test_the_time_of_a_single_query_is_the_median():
    seconds = iter([0.0, 1.0, 5.0, 7.0, 10.0, 110.0])  # starts and ends: 1, 2 and 100 seconds
    queries = np.zeros((3, 4), np.float32)
    assert single_query_ms(lambda *_: queries, queries, {}, lambda: next(seconds)) == 2000


def test_settings_much_slower_than_the_fastest_that_suffices_are_not_tried():
    """With k_factor 2 a query takes 1.25 s; with 64 it takes more than 8 s whatever nprobe is."""
    result = tuned(ScriptedSearch(True, 0.125), 0.9)
    tried = [point.parameters["nprobe"] for point in result.points]
    assert tried[:4] == [1, 2, 4, 8]  # k_factor 1
    slow = [point.parameters for point in result.points if point.parameters["k_factor"] == 64]
    assert slow == [{"nprobe": 1, "k_factor": 64}]


def test_what_is_reported_was_measured_on_queries_that_played_no_part_in_the_choice():
    scripted = ScriptedSearch()
    result = tuned(scripted, 0.9)
    tried, held_out = set(range(0, QUERIES, 2)), set(range(1, QUERIES, 2))
    assert scripted.searched[1] == tried
    assert scripted.searched[8] == tried | held_out
    assert result.measured.queries == QUERIES // 2
    scripted.hard = held_out
    assert tuned(scripted, 0.9).measured.recall_at_10 == pytest.approx(0.5)


def test_a_recall_that_is_out_of_reach_gives_the_highest_recall():
    scripted = ScriptedSearch()
    scripted.hard = set(range(QUERIES))
    assert tuned(scripted, 1.1).parameters == {"nprobe": 16}


def test_the_target_must_be_exceeded_by_the_standard_error():
    scripted = ScriptedSearch()
    # Half of the queries that choose: recall .75, standard error .046.
    scripted.hard = set(range(0, QUERIES, 4))
    assert tuned(scripted, 0.74).parameters == {"nprobe": 16}
    assert tuned(scripted, 0.70).parameters == {"nprobe": 8}


def test_recall_counts_the_share_of_the_neighbours_that_exist():
    none = -np.inf
    exact = np.array([[0.9, 0.8, none], [0.9, 0.8, 0.7], [none, none, none]])
    scores = np.array([[0.9, 0.7, none], [0.9, 0.8, 0.7], [0.1, none, none]])
    assert recall(scores, exact).tolist() == [0.5, 1.0, 1.0]


def test_a_copy_of_a_neighbour_is_as_good_as_the_neighbour(tmp_path: Path):
    copies = np.repeat(unit_vectors(200), 15, axis=0)
    index = make_index(tmp_path / "i", copies, IndexSettings("IVF16,SQ8", recall_target=0.99))
    assert index.manifest.main.measured.recall_at_10 > 0.98
    (segment, _), *_ = retune(tmp_path / "i").tuned
    assert segment.measured.recall_at_10 > 0.98
