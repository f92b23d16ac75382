"""The tuner on a search whose recall and time are known."""

import time
from pathlib import Path

import numpy as np
import pytest

from fgembed.index.changes.retune import retune
from fgembed.index.segments.faiss_index import Parameters
from fgembed.index.segments.segment_builder import IndexSettings
from fgembed.index.segments.tuning import recall, tune
from tests.index.making import make_index, unit_vectors

QUERIES = 60


class Scripted:
    """A structure with 16 lists, of which nprobe finds so many sixteenths of the neighbours."""

    lists = 16
    is_graph = False
    compresses = False

    def __init__(self) -> None:
        self.queries = np.random.default_rng(0).normal(size=(QUERIES, 4)).astype(np.float32)
        self.exact = np.tile(1 - 0.01 * np.arange(10), (QUERIES, 1)).astype(np.float32)
        self.asked: dict[int, set[int]] = {}
        self.hard: set[int] = set()

    def search(self, some: np.ndarray, k: int, parameters: Parameters) -> np.ndarray:
        nprobe = parameters["nprobe"]
        rows = [int(np.flatnonzero((self.queries == one).all(axis=1))[0]) for one in some]
        self.asked.setdefault(nprobe, set()).update(rows)
        found = np.full((len(some), k), -np.inf)
        for place, row in enumerate(rows):
            right = min(k, round(k * nprobe / (16 if row in self.hard else 8)))
            found[place, :right] = self.exact[row, :right]
        time.sleep(0.0002 * nprobe * len(some))
        return found


def tuned(known: Scripted, recall_target: float):
    return tune(known, known.search, known.queries, known.exact, recall_target)  # type: ignore[arg-type]


def test_the_fastest_setting_that_reaches_the_recall_is_taken():
    known = Scripted()
    found = tuned(known, 0.5)
    assert found.parameters == {"nprobe": 4}
    assert found.measured.recall_at_10 == pytest.approx(0.5)
    assert tuned(known, 0.9).parameters == {"nprobe": 8}


def test_what_is_reported_was_measured_on_queries_that_chose_nothing():
    known = Scripted()
    found = tuned(known, 0.9)
    tried, held = set(range(0, QUERIES, 2)), set(range(1, QUERIES, 2))
    assert known.asked[1] == tried
    assert known.asked[8] == tried | held
    assert found.measured.queries == QUERIES // 2
    known.hard = held
    assert tuned(known, 0.9).measured.recall_at_10 == pytest.approx(0.5)


def test_a_recall_that_is_out_of_reach_gives_the_best_there_is():
    known = Scripted()
    known.hard = set(range(QUERIES))
    assert tuned(known, 1.1).parameters == {"nprobe": 16}


def test_the_goal_must_be_exceeded_by_the_standard_error():
    known = Scripted()
    known.hard = set(range(0, QUERIES, 4))  # half of those that choose: recall .75, doubt .046
    assert tuned(known, 0.74).parameters == {"nprobe": 16}
    assert tuned(known, 0.70).parameters == {"nprobe": 8}


def test_recall_counts_the_share_of_the_neighbours_that_exist():
    none = -np.inf
    exact = np.array([[0.9, 0.8, none], [0.9, 0.8, 0.7], [none, none, none]])
    found = np.array([[0.9, 0.7, none], [0.9, 0.8, 0.7], [0.1, none, none]])
    assert recall(found, exact).tolist() == [0.5, 1.0, 1.0]


def test_a_copy_of_a_neighbour_is_as_good_as_the_neighbour(tmp_path: Path):
    copies = np.repeat(unit_vectors(200), 15, axis=0)
    index = make_index(tmp_path / "i", copies, IndexSettings("IVF16,SQ8", recall_target=0.99))
    assert index.manifest.main.measured.recall_at_10 > 0.98
    (segment, _), *_ = retune(tmp_path / "i").tuned
    assert segment.measured.recall_at_10 > 0.98
