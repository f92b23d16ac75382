"""The table of docs/adaptation.md, its arithmetic and one small measurement."""

from pathlib import Path

import pytest

from benchmarks.adaptation.adaptation_table import Scored, markdown, score_runs


def test_runs_named_alike_but_for_their_number_are_one_row():
    floors = [Scored("start", 4, [50.0, 60.0, 35.0, 20.0, 80.0, 55.0, 30.0])]
    runs = [
        Scored("moco-0", 8, [51.0, 61.0, 36.0, 21.0, 81.0, 56.0, 31.0]),
        Scored("moco-1", 8, [53.0, 61.0, 38.0, 22.0, 79.0, 57.0, 31.0]),
        Scored("lcr-paper", 8, [40.0, 50.0, 25.0, 10.0, 70.0, 45.0, 20.0]),
    ]
    assert markdown(floors, runs).splitlines() == [
        (
            "| encoder | runs | D | recall@1 | recall@5 | precision@10 | mAP "
            "| leave-one-out recall@1 | its precision@10 | its mAP |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
        "| start |  | 4 | 50.0 | 60.0 | 35.0 | 20.0 | 80.0 | 55.0 | 30.0 |",
        (
            "| `moco` | 2 | 8 | 52.0 (51.0..53.0) | 61.0 (61.0..61.0) | 37.0 (36.0..38.0) "
            "| 21.5 (21.0..22.0) | 80.0 (79.0..81.0) | 56.5 (56.0..57.0) | 31.0 (31.0..31.0) |"
        ),
        "| `lcr-paper` | 1 | 8 | 40.0 | 50.0 | 25.0 | 10.0 | 70.0 | 45.0 | 20.0 |",
    ]


@pytest.mark.slow
def test_a_run_scores_as_its_own_table_says(run: Path, photos: Path):
    import json

    lines = score_runs([run], photos / "train", photos / "test").splitlines()
    rows = json.loads((run / "report.json").read_text())["table"]["rows"]
    assert len(lines) == 2 + len(rows)
    for line, row in zip(lines[2:], rows, strict=True):
        assert line.split(" | ")[3] == f"{100 * row['scores']['recall@1']['value']:.1f}"
        assert line.split(" | ")[5] == f"{100 * row['scores']['precision@10']['value']:.1f}"
        assert line.split(" | ")[6] == f"{100 * row['scores']['mAP']['value']:.1f}"
