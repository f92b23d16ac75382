"""The guard on whole pages of hits: recall@1, precision@10 and mAP, of scripted orders."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fgembed.cli.tables import print_floor_table
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import Embedded
from fgembed.evaluation.floor_table import FloorTable, Score
from fgembed.evaluation.guard import judged_by_labels
from fgembed.evaluation.protocol import floor_table
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing

QUERIES = 20


class Ranked:
    """An embedder that gives query i an order of the gallery: `aab...`, classes by rank."""

    spec = Preprocessing()

    def __init__(self, *orders: str) -> None:
        self.orders = orders

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        return Embedded(list(paths), np.array([self._of(path) for path in paths]), [])

    def vectors(self, pixels: Pixels) -> Vectors:
        raise NotImplementedError

    def _of(self, path: Path) -> Vectors:
        name, _, number = path.stem.partition("-")
        if name in "ab":
            return np.asarray(np.eye(24)[_axis(name, int(number))])
        order = self.orders[int(number) % len(self.orders)]
        falling = np.zeros(24)
        for rank, match in enumerate(order):
            falling[_axis(match, order[:rank].count(match))] = 24 - rank
        return np.asarray(falling / np.linalg.norm(falling))


def _axis(name: str, number: int) -> int:
    return 12 * "ab".index(name) + number


@pytest.fixture
def pages(tmp_path: Path) -> tuple[Path, Path]:
    """Two classes of 12 gallery images each, and 20 queries of the first."""
    for folder in ("gallery/a", "gallery/b", "queries/a"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(12):
        for name in "ab":
            (tmp_path / "gallery" / name / f"{name}-{number}.jpg").write_bytes(b"")
    for number in range(QUERIES):
        (tmp_path / "queries" / "a" / f"query-{number}.jpg").write_bytes(b"")
    return tmp_path / "gallery", tmp_path / "queries"


WORSE_IN_ONE = {  # measure: order of start and run, figures of both in percent
    "recall@1": ("a" + 12 * "b" + 11 * "a", "b" + 12 * "a" + 11 * "b", 0.0, 100.0),
    "precision@10": (7 * "a" + 12 * "b" + 5 * "a", 6 * "a" + 4 * "b" + 6 * "a" + 8 * "b", 60, 70),
    "mAP": (9 * "a" + "b" + 3 * "a" + 11 * "b", 9 * "a" + 12 * "b" + 3 * "a", 86.9, 97.9),
}


@pytest.mark.parametrize("measure", WORSE_IN_ONE)
def test_a_run_that_is_worse_in_one_measure_alone_is_below_and_it_is_named(
    measure: str, pages: tuple[Path, Path]
):
    start, run, trained, floor = WORSE_IN_ONE[measure]
    table = floor_table({"start": Ranked(start), "run": Ranked(run)}, *pages)
    assert [name for name, gain in table.gains.items() if gain.value < 0] == [measure]
    verdict = judged_by_labels(table)
    lost = f"{trained - floor:+.1f}"
    assert verdict.headline() == (
        f"below its floor: {measure} {trained:.1f} against {floor:.1f} of the calibrated start, "
        f"{lost} [{lost}, {lost}], over 20 queries"
    )


def test_a_loss_in_a_measure_within_noise_passes(pages: tuple[Path, Path]):
    """One image more on the page of 9 queries, one less on that of 11."""
    good, fair = 8 * "a" + 4 * "b" + 4 * "a" + 8 * "b", 7 * "a" + 5 * "b" + 5 * "a" + 7 * "b"
    start = Ranked(*(9 * [fair] + 11 * [good]))
    run = Ranked(*(9 * [good] + 11 * [fair]))
    table = floor_table({"start": start, "run": run}, *pages)
    assert table.gains["precision@10"].value == pytest.approx(-0.01)
    verdict = judged_by_labels(table)
    assert verdict.outcome == "passed"
    assert "; precision@10 74.5 against 75.5, -1.0 [" in verdict.sentence
    assert verdict.sentence.count("within noise") == 3
    worse = Ranked(*(2 * [good] + 18 * [fair]))
    verdict = judged_by_labels(floor_table({"start": start, "run": worse}, *pages))
    assert verdict.outcome == "below"
    assert verdict.sentence.startswith("precision@10 71.0 against 75.5 of the calibrated start")
    assert "; mAP " in verdict.sentence
    assert "recall@1" not in verdict.sentence


def test_a_table_of_an_earlier_fgembed_is_read_with_its_gain_and_an_empty_column(
    capsys: pytest.CaptureFixture[str],
):
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    scores = {"recall@1": score, "recall@10": score, "mAP": score}
    rows = [{"encoder": name, "dimensions": 8, "scores": scores} for name in ("start", "run")]
    early = {
        "rows": rows, "protocol": "leave-one-out", "queries": 9, "gallery": 9, "classes": 3,
        "skipped": 0, "notes": [], "gain": {"value": -0.1, "low": -0.2, "high": 0.1},
    }  # fmt: skip
    table = FloorTable.from_json(early)
    assert table.gains == {"recall@1": Score(-0.1, -0.2, 0.1)}
    header, _, _, line, *_ = table.markdown().splitlines()
    assert header == "| encoder | D | recall@1 | recall@10 | precision@10 | mAP |"
    cell = "50.0 [40.0, 60.0]"
    assert line == f"| run | 8 | {cell} | {cell} | - | {cell} |"
    assert "beyond the row above: recall@1 -10.0 [-20.0, +10.0]." in table.caption()
    print_floor_table(table)
    columns, _, run, *_ = capsys.readouterr().out.splitlines()
    assert columns.split() == ["encoder", "D", "recall@1", "recall@10", "precision@10", "mAP"]
    assert run.split() == ["run", "8", "50.0", "[40.0,", "60.0]", "50.0", "-", "50.0"]
    assert FloorTable.from_json(json.loads(json.dumps(table.to_json()))) == table
    assert FloorTable.from_json(early | {"gain": None}).gains == {}
