"""Quality against cost in a report: which rows, and their figures."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fgembed.evaluation.floor_table import FloorTable, Score, ScoreRow
from fgembed.evaluation.speed import Speed
from fgembed.reports.cost_plot import STYLES, compared_rows, cost_text, draw_cost

NAMES = [
    "untouched start, mean pooling",
    "untouched start, mean pooling + mirror",
    "untouched start, GeM + whitening",
    "untouched start, fitted reading + mirror",
    "run distill-1",
]
RATES = [144.0, 70.0, 140.0, 58.0, 133.0]


def table_of(timed: list[str]) -> FloorTable:
    rows = [
        ScoreRow(
            name,
            512,
            {
                "recall@1": Score(0.5 + number / 50, 0.48 + number / 50, 0.52 + number / 50),
                "mAP": Score(0.3, 0.29, 0.31),
            },
        )
        for number, name in enumerate(NAMES)
    ]
    speed = {
        name: Speed(rate, rate - 2, rate + 2)
        for name, rate in zip(NAMES, RATES, strict=True)
        if name in timed
    }
    return FloorTable(rows, "leave-one-out", 10, 10, 2, 0, speed=speed)


def test_mean_pooling_its_mirror_the_fitted_start_and_the_run_are_compared():
    rows = compared_rows(table_of(NAMES))
    assert [row.encoder for row in rows] == [NAMES[0], NAMES[1], NAMES[3], NAMES[4]]


def test_rows_that_were_not_timed_are_left_out():
    assert [row.encoder for row in compared_rows(table_of([NAMES[0], NAMES[4]]))] == [
        NAMES[0], NAMES[4],
    ]  # fmt: skip
    assert compared_rows(table_of([])) == []
    alone = FloorTable(table_of(NAMES).rows[-1:], "leave-one-out", 10, 10, 2, 0)
    assert compared_rows(alone) == []


def test_the_table_beside_the_figure_says_the_same():
    lines = cost_text(table_of(NAMES)).splitlines()
    assert lines[2] == "| encoder | images/s | ms | recall@1 | mAP |"
    assert lines[4] == (
        "| untouched start, mean pooling | 144 [142, 146] | 6.94 | 50.0 [48.0, 52.0] "
        "| 30.0 [29.0, 31.0] |"
    )
    assert lines[-1].startswith("| run distill-1 | 133 [131, 135] | 7.52 | 58.0 [56.0, 60.0] |")


@pytest.mark.parametrize("timed", [NAMES, NAMES[-1:]])
def test_the_marks_are_where_cost_and_quality_are(
    tmp_path: Path, timed: list[str], monkeypatch: pytest.MonkeyPatch
):
    """The run's colour is in both panels, as high as its score and as far as its cost."""
    drawn: list[Figure] = []

    def save(figure: Figure, file: Path) -> None:
        drawn.append(figure)
        figure.savefig(file, format="png")

    monkeypatch.setattr("fgembed.reports.cost_plot.save_figure", save)
    draw_cost(tmp_path / "cost.png", table_of(timed))
    with Image.open(tmp_path / "cost.png") as figure:
        pixels = np.asarray(figure.convert("RGB")).astype(int)
    magenta = np.array([int(STYLES[-1][0][i : i + 2], 16) for i in (1, 3, 5)])
    is_run = (abs(pixels - magenta) < 12).all(axis=2)
    half = pixels.shape[1] // 2
    assert is_run[:, :half].sum() > 100
    assert is_run[:, half:].sum() > 100
    recall, precision = drawn[0].axes
    assert np.asarray(recall.lines[-1].get_xydata()).tolist() == [pytest.approx([1000 / 133, 58.0])]
    assert np.asarray(precision.lines[-1].get_xydata()).tolist() == [
        pytest.approx([1000 / 133, 30.0])
    ]
    assert len(recall.lines) == (4 if timed == NAMES else 1)
