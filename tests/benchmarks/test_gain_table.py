"""The table of gains over seeds, of hand-made rows and of a finished run."""

from pathlib import Path

import pytest

from benchmarks.adaptation import gain_table
from benchmarks.adaptation.gain_table import Gain


def gain(cell: str, run: float, worse: bool = False) -> Gain:
    return Gain((cell, "resnet"), [50.0, 40.0, 30.0], [run, 41.0, 30.0], [worse, False, False])


def test_a_row_has_the_mean_the_least_and_the_most():
    lines = gain_table.table([gain("a", 52.0), gain("a", 49.0, worse=True), gain("b", 54.0)])
    first, second, average = lines.splitlines()[2:]
    assert first == (
        "| a | resnet | 2 | 50.0 / 40.0 / 30.0 | 50.5 (49.0..52.0) / 41.0 (41.0..41.0) / "
        "30.0 (30.0..30.0) | +0.5 (-1.0..+2.0)* / +1.0 (+1.0..+1.0) / +0.0 (+0.0..+0.0) |"
    )
    assert second.endswith("| 1 | 50.0 / 40.0 / 30.0 | 54.0 / 41.0 / 30.0 | +4.0 / +1.0 / +0.0 |")
    assert average == "| mean of the rows | | 3 | | | +2.2 / +1.0 / +0.0 |"


def test_a_finished_run_is_read(run: Path, capsys: pytest.CaptureFixture[str]):
    gain_table.main([str(run)])
    row = capsys.readouterr().out.splitlines()[2]
    assert row.startswith("| photos, 9 queries | torchvision/")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"error: .* holds no report\.json"):
        gain_table.main([str(tmp_path)])
